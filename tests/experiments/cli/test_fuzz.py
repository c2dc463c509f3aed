"""A thousand bad inputs: none ends in a traceback, none is accepted that the schema forbids."""

import functools
import importlib
import io
import os
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest
from conftest import configure
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.cli.config import flatten

pytestmark = [pytest.mark.slow]

CASES = 1000  # about five minutes
# stops every run, search and gate that the schema lets through before it reads anything
STOP = {
    "train": ("step=s13", "data=idx", "data.root=/nowhere", "budget.parameters=1"),
    "search": ("data=idx", "data.root=/nowhere"),
    "gate": ("step=s13", "stage=budget", "budget.parameters=1"),
    "compare": ("tracking.uri=sqlite:////nowhere/mlflow.db",),
    "predict": ("input=/nowhere",),
    "evaluate": ("data=idx", "tracking.uri=sqlite:////nowhere/mlflow.db"),
    "ui": ("tracking.uri=sqlite:////nowhere/mlflow.db",),
}
COMMANDS = st.sampled_from(sorted(STOP))
VALUES = st.one_of(
    st.sampled_from(["null", "true", "maybe", "0", "-1", "1.5", "1e400", "nan", "inf", "-inf"]),
    st.sampled_from(["???", "[]", "{}", "[1,2]", "[null]", "{a:1}", "''", "/dev/full", "../x"]),
    st.sampled_from(["'${seed}'", "'${nowhere}'", "'${oc.env:NOWHERE}'", "18446744073709551616"]),
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(str),
    st.text("abcxyz019._-", min_size=1, max_size=12),
    st.text(min_size=1, max_size=8).map(lambda text: "'" + text.replace("'", "") + "'"),
)


@settings(
    max_examples=CASES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@given(st.data())
def test_no_input_ends_in_a_traceback_or_passes_against_the_schema(tmp_path_factory, data):
    command = data.draw(COMMANDS)
    keys = keys_of(command)
    changes = data.draw(st.lists(st.tuples(st.sampled_from(keys), VALUES), min_size=1, max_size=2))
    forms = st.sampled_from(["{key}={value}", "+{key}.more={value}", "++{key}={value}", "~{key}"])
    overrides = [data.draw(forms).format(key=key, value=value) for key, value in changes]
    code, output, errors = ended(command, [*overrides, *STOP[command]], tmp_path_factory)
    lines = errors.strip().splitlines()
    assert code not in (0, None), (overrides, output)
    assert len(lines) <= 20 and "Traceback" not in errors, (overrides, errors)
    assert not any(line.startswith("  File ") for line in lines), (overrides, errors)


@functools.cache
def keys_of(command: str) -> list[str]:
    return sorted(flatten(configure(command)))


def ended(command: str, arguments: list[str], tmp_path_factory) -> tuple[int, str, str]:
    """Run a command in this process: its exit status, its output and its errors."""
    program = importlib.import_module(f"experiments.{command}")
    output, errors, before = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = [command, *arguments]
    folder, here = tmp_path_factory.mktemp("fuzz"), os.getcwd()
    os.chdir(folder)
    try:
        with redirect_stdout(output), redirect_stderr(errors):
            program.main()
        return 0, output.getvalue(), errors.getvalue()
    except SystemExit as end:
        return end.code, output.getvalue(), errors.getvalue()
    finally:
        sys.argv = before
        os.chdir(here)
        files = [path for path in folder.rglob("*") if path.is_file()]
        others = [path for path in files if not any(path.name in item for item in arguments)]
        assert not others, (arguments, others)  # a report of the gate may have such a name
