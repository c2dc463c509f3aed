"""What people type, and what Hydra reads of it."""

import subprocess

import pytest
from conftest import composing
from hydra.core.override_parser.overrides_parser import OverridesParser

from experiments.cli.compose import compose, readable
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


@pytest.fixture
def composed(tmp_path):
    """The configuration with these overrides, where there are two steps of a user's own:
    mine, which extends step 13 with another network, and again, which extends mine."""
    for name, text in {
        "model/mine": "_target_: torch.nn.Linear\nin_features: 784\nout_features: 10\n",
        "step/mine": "# @package _global_\ndefaults: [s13, {override /model: mine}, _self_]\n",
        "step/again": "# @package _global_\ndefaults: [mine, {override /scheduler: null}, _self_]\n"
        "model: {bias: false}\n",
        "step/still": "# @package _global_\ndefaults: [s13, _self_]\naugmentation: null\n",
        "step/alone": "# @package _global_\naugmentation: null\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(text)

    def configure(*overrides: str):
        with composing():
            return compose("train", [*overrides, f"hydra.searchpath=[{tmp_path}]"])

    return configure


MINE = {"_target_": "torch.nn.Linear", "in_features": 784, "out_features": 10}


@pytest.mark.parametrize(
    ("overrides", "model"),
    [
        (["step=s13", "model=mine"], MINE),
        (["step=s13", "model=mine", "model.in_features=9"], MINE | {"in_features": 9}),
        (["step=mine"], MINE),
        (["step=mine", "+model.bias=true"], MINE | {"bias": True}),
        (["step=again"], MINE | {"bias": False}),
        (["step=again", "model.out_features=2"], MINE | {"bias": False, "out_features": 2}),
    ],
)
def test_the_network_that_is_chosen_holds_alone(composed, overrides, model):
    cfg = composed(*overrides)
    assert cfg.model == model
    assert cfg.optimizer.lr == 0.019  # the recipe is that of step 13


def test_what_a_file_says_of_a_group_holds_for_the_choice_that_it_was_written_for(composed):
    assert composed("step=mine").scheduler == composed("step=s13").scheduler
    assert composed("step=again").scheduler is None
    assert composed("step=again", "scheduler=one_cycle").scheduler.pct_start == 0.3
    assert composed("step=again", "model=ladder").model == composed("step=s13").model
    assert "step_size" not in composed("step=s13", "scheduler=one_cycle").scheduler


@pytest.mark.parametrize("step", ["still", "alone"])
def test_null_in_a_file_switches_off_unless_a_choice_is_typed(composed, step):
    assert composed(f"step={step}").augmentation is None
    typed = composed(f"step={step}", "augmentation=affine", "augmentation.degrees=3")
    assert typed.augmentation._target_ == "models.augmentation.RandomAffine"
    assert typed.augmentation.degrees == 3


def test_a_configuration_names_its_step(composed):
    assert (composed("step=mine").step, composed("step=mine").experiment) == ("mine", None)
    assert composed("experiment=scratch_mlp").experiment == "scratch_mlp"


def test_a_file_cannot_claim_another_step(run_here, tmp_path):
    (tmp_path / "step").mkdir()
    text = "# @package _global_\ndefaults: [s13, _self_]\nstep: s05\n"
    (tmp_path / "step" / "liar.yaml").write_text(text)
    given = ("stage=budget", "step=liar", "--config-dir", str(tmp_path))
    status, _, errors = run_here("gate", *given)
    assert status == 2
    assert "step: s05 in a file: the program sets this key" in errors
