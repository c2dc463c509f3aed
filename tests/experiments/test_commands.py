"""The commands by their names: the list of them, their help, and completion in a shell."""

import importlib
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT, configure
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from experiments.__main__ import COMMANDS
from experiments.cli.checks import check
from experiments.cli.compose import readable
from experiments.cli.schema import SCHEMAS


def parsimony(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "experiments", *arguments],
        cwd=PROJECT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_command_is_in_the_list_with_a_line():
    files = (PROJECT / "experiments").glob("[a-z]*.py")
    assert {path.stem for path in files if "@program(" in path.read_text()} == set(COMMANDS)
    result = parsimony()
    assert result.returncode == 0
    assert result.stdout in (PROJECT / "docs" / "commands.md").read_text()
    listed = [line.split(maxsplit=1) for line in result.stdout.splitlines()[2:]]
    assert [name for name, _ in listed] == list(COMMANDS)
    assert all(len(text) > 20 and text.endswith(".") for _, text in listed)


def test_a_command_by_its_name_is_the_command():
    named, module = (
        subprocess.run(
            [sys.executable, "-m", *program, "step=13", "seed=-1"],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )
        for program in (("experiments", "train"), ("experiments.train",))
    )
    assert named.returncode == module.returncode == 1
    assert named.stderr == module.stderr == "error: seed must be at least 0, not -1\n"
    unknown = parsimony("trian")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr == "error: there is no command trian; choose train\n"


@pytest.mark.slow
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["gate", "stage=budget", "step=s13"], 2),
        (["train", "--cfg", "job"], 1),
        ([], None),
    ],
)
def test_a_command_whose_output_nobody_reads_ends_without_a_word(arguments, status, unbuffered):
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-m", "experiments", *arguments]
    with subprocess.Popen(command, cwd=PROJECT, env=environment, **pipes) as process:
        process.stdout.close()  # as `| head` does, once it has its lines
        assert process.stderr.read() == ""
    assert process.returncode == status or (status is None and process.returncode != 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "status"),
    [("gate stage=budget step=s13", 2), ("train --cfg job", 1)],
)
def test_a_full_disk_is_one_line(command, status):
    arguments = [sys.executable, "-m", "experiments", *command.split()]
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            arguments,
            cwd=PROJECT,
            env=os.environ | {"PYTHONUNBUFFERED": ""},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert result.returncode == status
    assert result.stderr == "error: standard output: No space left on device\n"


@pytest.mark.slow
def test_a_missed_target_is_told_where_nobody_reads_the_table():
    command = [sys.executable, "-m", "experiments.gate", "stage=budget", "max_parameters=1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = os.environ | {"PYTHONUNBUFFERED": ""}
    with subprocess.Popen([*command, "step=s13"], cwd=PROJECT, env=environment, **pipes) as process:
        process.stdout.close()
        assert "5,854 parameters are 5,853 above 1" in process.stderr.read()
    assert process.returncode == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_help_begins_with_what_a_command_does_and_three_examples(command, run_here):
    status, text, _ = run_here(command, "--help")
    assert status == 0
    described, hydra = text.split("powered by Hydra")
    assert "== Configuration groups ==" in hydra
    assert described.startswith(importlib.import_module(f"experiments.{command}").__doc__)
    examples = [line for line in described.splitlines() if line.startswith("python -m ")]
    assert len(examples) == 3
    for example in examples:  # each is accepted, as bash hands it on
        _, _, program, *arguments = shlex.split(example, comments=True)
        assert program == f"experiments.{command}"
        arguments = [item for item in arguments if item != "-m"]
        overrides = OverridesParser.create().parse_overrides(readable(command, arguments))
        [[first, *_]] = BasicSweeper.split_arguments(overrides, None)
        name = command if command in SCHEMAS else "train"
        check(configure(name, *first), name)


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """Completes a line in bash, as the docs install it, with a `parsimony` on the path."""
    folder = tmp_path_factory.mktemp("bin")
    program = folder / "parsimony"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m experiments "$@"\n')
    program.chmod(0o755)
    environment = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}

    def complete(line: str) -> list[str]:
        script = """
            eval "$(parsimony -sc install=bash)"
            COMP_LINE=$1; COMP_POINT=${#1}; COMP_CWORD=$2
            hydra_bash_completion; printf '%s\\n' "${COMPREPLY[@]}"
        """
        words = line.split(" ")
        result = subprocess.run(
            ["bash", "-c", script, "bash", line, str(len(words) - 1)],
            cwd=PROJECT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert not result.stderr
        return result.stdout.split()

    return complete


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("parsimony ", list(COMMANDS)),
        ("parsimony co", ["compare", "competition"]),
        ("parsimony train step=s0", [f"step=s0{number}" for number in range(1, 10)]),
        ("parsimony train step=s13 scheduler.g", ["scheduler.gamma="]),
        ("parsimony search sampler=t", ["sampler=tpe"]),
    ],
)
def test_completion_in_bash(shell, line, completed):
    assert sorted(shell(line)) == sorted(completed)


def test_the_console_command_is_installed_with_the_package():
    text = Path(PROJECT, "pyproject.toml").read_text()
    assert 'parsimony = "experiments.__main__:main"' in text


def test_what_cfg_shows_is_what_runs(run_here):
    status, text, _ = run_here("train", "step=13", "scheduler=one_cycle", "--cfg", "job")
    assert status == 0
    assert "step: s13\n" in text
    assert "step_size" not in text  # of the step's own schedule


SPEAKS = """
import io, os, sys
from importlib import import_module
class First(io.StringIO):
    def write(self, text):
        if text:
            heavy = {'torch', 'mlflow'} & sys.modules.keys()
            os.write(2, f"{text}: {heavy or 'nothing heavy yet'}".encode())
            os._exit(0)
sys.stderr = sys.stdout = First()
import_module(f"experiments.{sys.argv[0]}").main()
"""


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["train", "step=s13"], "step 13, seed 0: 14 epochs on MNIST: nothing heavy yet"),
        (["search"], "search scale: the most accurate network: nothing heavy yet"),
    ],
)
def test_a_command_says_what_it_does_before_imports_that_take_seconds(arguments, line):
    code = f"import sys; sys.argv = {arguments}\n{SPEAKS}"
    command, options = [sys.executable, "-c", code], {"capture_output": True, "text": True}
    result = subprocess.run(command, cwd=PROJECT, check=False, **options)
    assert result.stderr == line
