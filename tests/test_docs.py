"""Every command of the README and of docs/ is accepted as it is printed, by bash and by Hydra."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import PROJECT, configure
from hydra.core.override_parser.overrides_parser import OverridesParser

from experiments.cli.checks import check
from experiments.cli.compose import groups, readable
from experiments.cli.keys import REFUSED, key_of, kinds
from experiments.cli.schema import SCHEMAS

PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted(PROJECT.glob("docs/*.md"))]
# programs that are not configured by a schema, or that fail as the text says
OTHERS = {"fetch", "benchmarks.baselines"}
ANY = "console|bash|text|yaml"  # languages of blocks
PROGRAM = r"(?:\s*- run: |time )?(?:python -m experiments\.|parsimony (?=[a-z]))([\w.]+)"
NO_KEYS = {
    "lr": "docs/commands.md shows what is answered to it",
    "fast_dev_run": "docs/lightning.md names an argument of Lightning's trainer",
    "device": "docs/own-network.md names an argument of PyTorch",
}
FOUND = "found/night-2", "found/scale-31"  # steps that a search writes


def blocks(page: Path, language: str) -> Iterator[str]:
    """The blocks of code of a language, or of several: "console|bash"."""
    found = re.finditer(rf"^( *)```(?:{language})\n(.*?)^ *```", page.read_text(), re.M | re.S)
    yield from (re.sub(rf"^{block[1]}", "", block[2], flags=re.M) for block in found)


def written_files(page: Path) -> list[tuple[str, str]]:
    """The files that a page tells its reader to write: their names and contents."""
    named = r"`((?:conf|models)/[\w/]+\.(?:yaml|py))`[^`]*?\n\n```(?:yaml|python)\n(.*?)```"
    return re.findall(named, page.read_text(), re.S)


def spans(page: Path) -> list[str]:
    """What stands as code in the prose and in the tables of a page."""
    prose = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.M | re.S)
    return [" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`", prose)]


def lines(page: Path) -> list[str]:
    """Every line of a page that may be a command: of its blocks, its prose and its tables."""
    found = [
        line for block in blocks(page, ANY) for line in block.replace("\\\n", " ").splitlines()
    ]
    return found + spans(page)


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each command of the project on a page, as bash splits them."""
    for line in lines(page):
        if found := re.match(PROGRAM, line):
            words = shlex.split(line[found.end(0) - len(found[1]) :], comments=True)
            yield [word.replace("...", "ID") for word in words if word != "..."]


ALL = [(page, words) for page in PAGES for words in commands(page)]


@pytest.fixture
def own_files(page, tmp_path) -> Path:
    """The files of conf/ that pages tell their reader to write, in a search path; of two with one
    name, that of this page."""
    (tmp_path / "conf").mkdir()
    made = [
        (f"conf/step/{name}.yaml", "# @package _global_\ndefaults: [/step/s14, _self_]\n")
        for name in FOUND
    ]
    for name, content in [
        *made,
        *(file for each in (*PAGES, page) for file in written_files(each)),
    ]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path / "conf"


def test_the_pages_have_commands():
    assert len(ALL) > 50
    assert {words[0] for _, words in ALL} >= set(SCHEMAS)


@pytest.mark.parametrize(
    ("page", "words"), ALL, ids=[f"{page.name}: {' '.join(words)}" for page, words in ALL]
)
def test_a_command_is_accepted_as_it_is_printed(page, words, own_files, monkeypatch):
    program, *arguments = words
    if program in OTHERS:
        return
    monkeypatch.chdir(PROJECT)
    flags = {"-m", "--cfg", "job", "--help", "--resolve"}
    given = readable(program, [each for each in arguments if each not in flags])
    parsed = OverridesParser.create().parse_overrides(given)
    single = []
    for override, text in zip(parsed, given, strict=True):
        if override.is_sweep_override():
            assert "-m" in arguments, f"{text} is a sweep"
            value = "s13" if "glob" in text else next(override.sweep_string_iterator())
            single.append(f"{override.get_key_element()}={value}")
        else:
            single.append(text)
    cfg = configure(program, *single, f"hydra.searchpath=[file://{own_files}]")
    name = cfg.get("model", {}).get("_target_", "").rpartition(".")[2]
    if any(f"class {name}(" in content for _, content in written_files(page)):
        return  # the class is a reader's own
    check(cfg, program)


def keys() -> tuple[set[str], tuple[str, ...]]:
    """All keys of all commands, those of the files of a group included; and those that hold any."""
    known = {*kinds(), *groups()}
    for path in (PROJECT / "conf").glob("*/**/*.yaml"):
        content, group = (
            yaml.safe_load(path.read_text()),
            path.relative_to(PROJECT / "conf").parts[0],
        )
        known |= {f"{group}.{key}" for key in content}
    ends = [key for key in known if not any(one.startswith(f"{key}.") for one in known)]
    return known, tuple(
        f"{key}." for key in (*ends, "hydra", "trainer.callbacks", "trainer.logger")
    )


KNOWN, ANY_BELOW = keys()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_an_override_in_prose_or_in_a_table_has_a_key_that_exists(page):
    for span in spans(page):
        words = span.split(" ") if span.count("'") % 2 or '"' in span else shlex.split(span)
        words = [word for word in words if word not in ("-m", "...", *SCHEMAS)]
        if all(re.match(r"[+~]*[a-z][\w./]*=", word) for word in words):
            for key in map(key_of, words):
                exists = key in KNOWN or key in REFUSED or key.startswith(ANY_BELOW)
                assert exists or key in NO_KEYS, f"{span}: there is no key {key}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_target_of_make_and_an_extra_of_pip_exist(page):
    targets = re.findall(r"^([\w-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    extras = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for line in lines(page):
        if found := re.match(r"(?: *- run: )?make ([\w-]+)", line):
            assert found[1] in targets, line
        if found := re.match(r"pip install -e '\.\[(.+)]'", line):
            assert set(found[1].split(",")) <= extras.keys(), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_yaml_can_be_read_and_links_lead_somewhere(page):
    for block in blocks(page, "yaml"):
        yaml.safe_load(block)
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), link


def test_every_kept_screen_is_linked_beside_that_of_before():
    linked = re.findall(
        r"\.\./tests/screens/([\w/-]+\.txt)", (PROJECT / "docs/commands.md").read_text()
    )
    kept = (PROJECT / "tests/screens").rglob("*.txt")
    assert sorted(linked) == sorted(
        str(path.relative_to(PROJECT / "tests/screens")) for path in kept
    )


def test_what_was_found_on_stand_ins_has_its_tests():
    """The last column of the table of docs/gpu.md: files, each with its tests."""
    text = (PROJECT / "docs/gpu.md").read_text()
    rows = text.partition("| found | now | test |\n|---|---|---|\n")[2].splitlines()
    assert len(rows) > 15
    for row in rows:
        cell = row.split(" | ")[2]
        parts = re.findall(r"`([\w/]+\.py)`|`([a-z_]+)(?:\[\w+\])?`", cell)
        assert parts and parts[0][0], row
        for file, name in parts:
            if file:
                tests = (PROJECT / "tests" / file).read_text()
            else:
                assert f"def test_{name}(" in tests, row
