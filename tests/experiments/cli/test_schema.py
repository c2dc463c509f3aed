"""Every file of conf/ fits the schema, and what the schema forbids is refused in a line."""

import json
import re

import pytest
import yaml
from conftest import PROJECT, configure, own_conf
from editors import FILES, for_editors
from jsonschema import Draft202012Validator
from omegaconf import OmegaConf
from test_docs import PAGES, written_files

from experiments.cli.checks import check
from experiments.cli.compose import OBJECTS
from experiments.cli.errors import UserError
from experiments.cli.keys import kind
from experiments.cli.schema import SCHEMAS, walk

CONF, PAGE = own_conf(), PROJECT / "docs" / "configuration.md"
FOR_EDITORS = PROJECT / "conf" / "step.schema.json"
GROUPS = ("step", "experiment", "data", "model", "augmentation", "loss", "optimizer", "scheduler")
LIMITS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
CHOICES = [
    (command, f"{group}={path.relative_to(CONF / group).with_suffix('')}")
    for command, groups in (("train", GROUPS), ("search", ("search", "sampler")))
    for group in groups
    for path in sorted((CONF / group).rglob("*.yaml"))
]


@pytest.mark.parametrize("command", SCHEMAS)
def test_the_schema_has_the_keys_of_a_command_and_accepts_its_defaults(command):
    cfg = configure(command)
    check(cfg, command)
    assert set(cfg) == set(SCHEMAS[command].model_fields)


def test_the_schema_accepts_every_file():
    for command, choice in CHOICES:
        given = ["loss.teacher=a_run"] if choice == "loss=distillation" else []
        check(configure(command, choice, *given), command)


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        ("model.bias=maybe", "model.bias must be true or false, not maybe"),
        ("force=perhaps", "force must be true or false, not perhaps"),
        ("data.transposed=perhaps", "data.transposed must be true or false, not perhaps"),
        ("data.std=inf", "data.std must be a finite number"),
        ("data.mean=x", "data.mean must be a number, not x"),
        ("step=s13 scheduler.step_size=-1", "scheduler.step_size must be at least 1, not -1"),
        ("step=s13 scheduler.step_size=1.5", "scheduler.step_size must be a whole number, not 1.5"),
        ("step=s13 scheduler.gamma=nan", "scheduler.gamma must be a finite number"),
        ("optimizer.lr=???", "optimizer.lr has no value"),
        ("optimizer.lr=null", "optimizer.lr must be a number, not null"),
        ("+budget.flops=3", "there is no key budget.flops"),
        ("+budget.paramters=3", "did you mean budget.parameters?"),
        ("+fused.foo=[1]", "there is no key fused.foo"),
        ("+data.source.foo=1", "there is no key data.source.foo"),
        ("+data.source.folder.more=null", "data.source.folder must be text, not"),
        ("fused.seed=[a]", "fused.seed.0 must be a whole number, not a"),
        ("budget=null", "budget must be a group of keys such as budget.parameters, not null"),
        ("seed=18446744073709551616", "seed must be below 4294967296"),
        ("seed=true", "seed must be a whole number, not true"),
        ("+published.last_val_acc=abc", "published.last_val_acc must be a number, not abc"),
        ("checkpoints.root=null", "checkpoints.root must be text, not null"),
        ("budget.parameters=many", "budget.parameters must be a whole number, not many"),
        ("trainer.accelerator=quantum", "trainer.accelerator must be 'auto', 'cpu'"),
        ("trainer.devices=x", "trainer.devices must be 1 or a list, not x"),
        (
            "trainer.precision=64-true",
            "trainer.precision must be '32-true', 'bf16-mixed' or '16-mixed'",
        ),
        ("+trainer.max_steps=10", "trainer.max_steps is not for a run: a run is a number of whole"),
        ("+trainer.limit_val_batches=0", "trainer.limit_val_batches must be at least 1 or above 0"),
        ("+trainer.callbacks=[{patience:1}]", "trainer.callbacks has no _target_; name a class"),
        ("+trainer.callbacks=[{_target_:it}]", "trainer.callbacks._target_: "),
        ("+trainer.callbacks=[1]", "trainer.callbacks.0 must be a group of keys, not 1"),
        ("+ckpt_path=last.ckpt", "ckpt_path is not for a run: the same command goes on by itself"),
        ("optimizer=adam optimizer.betas=[1,x]", "optimizer.betas.1 must be a number, not x"),
        ("+model.droput=0.5", "there is no key model.droput in the configuration; did you"),
        ("model._target_=models.Nothing", "model._target_: "),
        ("augmentation=blur augmentation._args_.0.size=x", "augmentation._args_[0].size must be a"),
        ("tracking.uri=", 'tracking.uri must be text that is not empty, not "" (text)'),
    ],
)
def test_what_the_schema_forbids(overrides, complaint):
    with pytest.raises(UserError) as error:
        check(configure("train", *overrides.split()), "train")
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["budgets: {parameters: 10}", "budget: {paramters: 10}"])
def test_a_typing_error_in_a_step_file(tmp_path, text):
    step = tmp_path / "step" / "mine.yaml"
    step.parent.mkdir()
    for first_line, complaint in (
        ("# @package _global_", f"there is no key {re.findall('[a-z]+', text)[0]}"),
        ("", "must begin with the line # @package _global_"),
    ):
        step.write_text(f"{first_line}\n{text}\n")
        with pytest.raises(UserError, match=complaint):
            check(configure("train", f"hydra.searchpath=[{tmp_path}]", "step=mine"), "train")


def test_the_page_of_all_keys_is_that_of_the_schema():
    assert PAGE.read_text() == page(), (
        "write it anew: PYTHONPATH=.:tests python tests/experiments/cli/test_schema.py"
    )


def test_the_schema_for_editors_is_that_of_the_commands():
    assert FOR_EDITORS.read_text() == for_editors(DOCUMENTED), "write it anew, as the page"


def in_an_editor(file: dict) -> str:
    """What an editor marks in a file."""
    validator = Draft202012Validator(json.loads(FOR_EDITORS.read_text()))
    return "; ".join(error.message for error in validator.iter_errors(file))


def test_every_step_names_the_schema_and_editors_find_nothing_wrong_with_it():
    for _, path in FILES:
        first, second, *_ = path.read_text().splitlines()
        assert first == "# @package _global_"
        folder = (PROJECT / "conf" / path.relative_to(CONF)).parent
        assert (folder / second.partition("$schema=")[2]).resolve() == FOR_EDITORS
        assert in_an_editor(OmegaConf.to_container(OmegaConf.load(path))) == "", path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_editors_find_nothing_wrong_with_the_steps_of_a_page(page):
    for name, text in written_files(page):
        if name.startswith(("conf/step", "conf/experiment")):
            assert in_an_editor(yaml.safe_load(text)) == ""


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("budgets: {parameters: 10}", "budgets"),
        ("trainer: {max_epoch: 3}", "max_epoch"),
        ("trainer: {max_epochs: 0}", "0 is not valid"),
        ("budget: {parameters: many}", "many"),
        ("model: [8, 8]", "is not valid"),
        ("seed: one", "one"),
        ("model: {widhts: [8]}", "'widhts' was unexpected"),
        ("{defaults: [s13, _self_], model: {widhts: [8]}}", "'widhts' was unexpected"),
        ("{defaults: [s13, _self_], model: {widths: [8, 0]}}", "[8, 0] is not valid"),
        ("{defaults: [s13, _self_], model: {dropout: 2}}", "2 is not valid"),
        ("{defaults: [s13, _self_], model: {hidden: [3]}}", "'hidden' was unexpected"),
        ("{defaults: [s14, _self_], model: {batch_norm: true}}", "'batch_norm' was unexpected"),
        ("{defaults: [{override /model: mlp}], model: {kernels: [3]}}", "'kernels' was"),
        ("model: {_target_: models.networks.mlp.MLP, kernels: [3]}", "'kernels' was unexpected"),
        ("optimizer: {learning_rate: 0.1}", "'learning_rate' was unexpected"),
        ("optimizer: {lr: fast}", "'fast' is not valid"),
        ("{defaults: [s13, _self_], scheduler: {step_size: 0}}", "0 is not valid"),
        ("{defaults: [s13, {override /scheduler: one_cycle}], scheduler: {gamma: 1}}", "'gamma'"),
        ("{defaults: [s13, _self_], augmentation: {rotate: 3}}", "'rotate' was unexpected"),
        ("loss: {_target_: models.losses.SquaredError, gradient: all}", "'all' is not valid"),
    ],
)
def test_editors_find_mistakes(text, complaint):
    assert complaint in in_an_editor(yaml.safe_load(text))


@pytest.mark.parametrize(
    "text",
    [
        "{defaults: [s13, _self_], model: {widths: [8, 8], dropout: 0.1}, scheduler: null}",
        "{defaults: [{override /model: convnet}], model: {kernels: [3], widths: [4]}}",
        "{defaults: [{override /model: mine}], model: {depths: 3}}",  # a reader's own
        "{defaults: [my_step, _self_], model: {depths: 3}}",
        "model: {_target_: mine.Mine, depths: 3}",
        "{defaults: [{override /optimizer: mine}], optimizer: {rho: 3}}",
        "{optimizer: {lr: '${model.x}', nesterov: true}, budget: {parameters: 5_000}}",
    ],
)
def test_editors_mark_nothing_that_is_right(text):
    assert in_an_editor(yaml.safe_load(text)) == ""


@pytest.mark.parametrize("first", ["package", "schema"])
def test_a_step_is_read_whichever_of_its_two_comments_is_first(tmp_path, first):
    lines = ["# @package _global_", "# yaml-language-server: $schema=../step.schema.json"]
    lines = lines if first == "package" else lines[::-1]
    (tmp_path / "step").mkdir()
    (tmp_path / "step/mine.yaml").write_text("\n".join([*lines, "trainer: {max_epochs: 3}", ""]))
    cfg = configure("train", f"hydra.searchpath=[{tmp_path}]", "step=mine")
    check(cfg, "train")
    assert cfg.trainer.max_epochs == 3


def page() -> str:
    """docs/configuration.md: types and kinds from the schema, defaults and help from conf/."""
    lines = [
        "# Every key of a configuration",
        "",
        "A key is set on the command line, `python -m experiments.train trainer.max_epochs=5`,",
        "or in a file of `conf/step` or `conf/experiment`. Types and ranges are checked before",
        "anything is read. The kind says what a key is for: *result* changes the result and is",
        "part of a run's identity; *place* is where and how a command runs; *judgement* is what a",
        "result is compared with; *label* is what people call it.",
        "This page is made from the schema (`experiments/cli/schema.py`) and from the files in",
        "`conf/`; a test holds it to them. The keys of a network, an optimizer, an augmentation",
        "and the like, such as `optimizer.lr` and `model.widths`, are those of the file that is",
        "chosen: [Files of a group](#files-of-a-group).",
    ]
    known: set[str] = set()
    for command, schema in SCHEMAS.items():
        rows = [row(key, schema) for key, _ in walk(schema) if key not in known]
        known |= {key for key, _ in walk(schema)}
        lines += ["", f"## `experiments.{command}`", ""]
        lines += ["| key | value | default | kind | meaning |", "|---|---|---|---|---|"]
        lines += [line for line in rows if line]
    lines += ["", "## Files of a group", ""]
    for group in ("model", "augmentation", "loss", "optimizer", "scheduler", "sampler"):
        for path in sorted((CONF / group).glob("*.yaml")):
            lines += [f"`{group}={path.stem}`", "", "```yaml", path.read_text().strip(), "```", ""]
    return "\n".join(lines).rstrip() + "\n"


def row(key: str, schema: type) -> str | None:
    """A row of the page; None for a key that only holds others."""
    inner, field = schema, None
    for part in key.split("."):
        by_name = {field.alias or name: field for name, field in inner.model_fields.items()}
        field = by_name[part]
        inner = field.annotation
    if hasattr(inner, "model_fields"):
        return None
    default, meaning = DOCUMENTED.get(key, ("", ""))
    if key.startswith("trainer."):
        meaning = meaning or "[as in Lightning](lightning.md)"
    elif key == "space":
        meaning = "the keys that vary, with their values: of a file of conf/search"
    elif key in OBJECTS:
        meaning = meaning or f"a choice of conf/{key}, below"
    assert meaning, f"{key} needs a comment in conf/"
    cells = (f"`{key}`", kind_of_value(field), default, kind(key).name.lower(), meaning)
    return f"| {' | '.join(cells)} |"


def kind_of_value(field) -> str:
    from pydantic import TypeAdapter

    shape = TypeAdapter(field.annotation).json_schema()
    for mark in field.metadata:
        for name, words in LIMITS.items():
            if hasattr(mark, name):
                shape[words] = getattr(mark, name)
    return " or ".join(in_words(one) for one in shape.get("anyOf", [shape]))


def in_words(shape: dict) -> str:
    if not shape:
        return "anything"
    if "enum" in shape or "const" in shape:
        values = shape.get("enum", [shape.get("const")])
        return ", ".join(f"`{yaml.safe_dump(each).splitlines()[0]}`" for each in values)
    words = {
        "integer": "whole number",
        "number": "number",
        "boolean": "true, false",
        "string": "text",
        "array": "list",
        "object": "keys",
        "null": "null",
    }[shape.get("type", "object")]
    limits = {
        "minimum": "at least",
        "exclusiveMinimum": "above",
        "maximum": "at most",
        "exclusiveMaximum": "below",
    }
    marks = [f"{text} {shape[name]}" for name, text in limits.items() if name in shape]
    marks += [f"{text} {shape[text]}" for text in limits.values() if text in shape]
    if shape.get("type") == "array" and "items" in shape:
        words += f" of {in_words(shape['items'])}"
    return " ".join((words, *marks))


def documented() -> dict[str, tuple[str, str]]:
    """The default and the comment of each key in the main files of conf/, by its dotted name."""
    found: dict[str, tuple[str, str]] = {}
    files = [(CONF / "data/mnist.yaml", "data"), (CONF / "trainer/lightning.yaml", "trainer")]
    files += [(CONF / f"{name}.yaml", "") for name in ("tracking", *SCHEMAS)]
    files += [(CONF / "data/csv.yaml", "data"), (CONF / "data/emnist.yaml", "data")]
    for path, prefix in files:
        usual = path.stem not in ("csv", "emnist")
        parents: list[tuple[int, str]] = [(-1, prefix)] if prefix else []
        known, key = set(found), ""
        for line in path.read_text().splitlines():
            match = re.match(r"( *)([\w]+):(?: +([^# ].*?))?(?:\s+# ?(.*))?$", line)
            if match:
                indent = len(match[1])
                parents = [each for each in parents if each[0] < indent]
                parents.append((indent, match[2]))
                key = ".".join(name for _, name in parents)
                default = (match[3] or "").strip().strip('"').replace("|", "\\|")
                found.setdefault(key, (f"`{default}`" if default and usual else "", match[4] or ""))
            elif key and key not in known and re.match(r" +# ", line):
                default, meaning = found[key]
                found[key] = (default, f"{meaning} {line.strip('# ')}".strip())
    return found


DOCUMENTED = documented()

if __name__ == "__main__":
    PAGE.write_text(page())
    FOR_EDITORS.write_text(for_editors(DOCUMENTED))
