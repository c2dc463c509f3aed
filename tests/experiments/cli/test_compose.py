"""What people type, and what Hydra reads of it."""

import subprocess

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from experiments.cli.compose import readable
from experiments.cli.errors import UserError


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("step=13", "step=s13"),
        ("step=9,13", "step=s09,s13"),
        ("step=s13", "step=s13"),
        ("step=mine,1", "step=mine,s01"),
        ("scheduler=null", "~scheduler"),
        ("+augmentation=null", "~augmentation"),
        ("data.holdout=null", "data.holdout=null"),
        ("seed=range(5)", "seed=range(5)"),
        ("model.widths=[8,8]", "model.widths=[8,8]"),
        ("--config-dir=/some where (1)", "--config-dir=/some where (1)"),
        ("-m", "-m"),
        ("job", "job"),
    ],
)
def test_an_argument_is_read_as_it_is_meant(typed, read):
    assert readable("train", [typed]) == [read]


@pytest.mark.parametrize(
    "text",
    [
        "params.step = 's13'",
        'metrics."val/acc" > 0.993 and params.step = "s13"',
        "tags.experiment IN ('a', 'b')",
        r"a\'b \\ it's",
        "a (1).b",
        "[8,8",
        r"ends in \' and \\",
    ],
)
def test_a_text_of_any_characters_reaches_the_command(text):
    [read] = readable("train", [f"filter={text}"])
    assert OverridesParser.create().parse_override(read).value() == text
    assert readable("train", [read]) == [read]


@pytest.mark.parametrize("typed", ["filter=\"params.step = 's13'\"", "filter=params.step\\ =\\ 1"])
def test_quotes_of_the_shell_are_enough(typed):
    echoed = subprocess.run(
        ["bash", "-c", f"printf %s {typed}"], capture_output=True, text=True, check=True
    ).stdout
    [read] = readable("train", [echoed])
    assert OverridesParser.create().parse_override(read).value() == echoed.partition("=")[2]


def test_null_is_no_choice_of_a_sweep():
    with pytest.raises(UserError, match="cannot choose null; give ~scheduler in a command"):
        readable("train", ["scheduler=step,null"])
