"""Every key of every command has a kind on purpose, and identity follows from the kinds."""

import pytest
from conftest import PROJECT, configure
from omegaconf import OmegaConf

from experiments.cli.config import JUDGEMENT, LABEL, PLACE, RESULT, flatten
from experiments.cli.keys import key_of, kind, kinds, unknown
from experiments.tracking.identity import config_hash
from experiments.tracking.run import parameters


def test_every_group_of_files_has_a_kind():
    groups = {path.name for path in (PROJECT / "conf").iterdir() if path.is_dir()}
    assert groups <= kinds().keys()


@pytest.mark.parametrize("chosen", ["step=s13", "experiment=kaggle_digits"])
def test_the_identity_depends_on_the_keys_of_results_and_on_no_other(chosen):
    cfg = configure("train", chosen)
    cfg.step = cfg.experiment = "some"
    base = config_hash(cfg)
    for key in flatten(cfg):
        changed = cfg.copy()
        OmegaConf.update(changed, key, "changed", force_add=True)
        assert (config_hash(changed) != base) == (kind(key) == RESULT), key


def test_all_seeds_of_a_configuration_are_one_group():
    one, other = (configure("train", "step=s13", f"seed={seed}") for seed in (0, 1))
    assert config_hash(one) != config_hash(other)
    assert config_hash(one, seed=False) == config_hash(other, seed=False)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("model.widths", RESULT),
        ("trainer.max_epochs", RESULT),
        ("trainer.strategy", PLACE),
        ("data.source.package.name", PLACE),
        ("data.rooted", RESULT),  # only whole parts of a key count
        ("budget.parameters", JUDGEMENT),
        ("published.last_val_acc", LABEL),
        ("a_key.of_tomorrow", RESULT),
    ],
)
def test_a_key_has_the_kind_of_its_longest_prefix(key, expected):
    assert kind(key) == expected


@pytest.mark.parametrize(
    "override", ["model.kernel=5", "+model.kernel=[1,2]", "++model.kernel=a=b", "~model.kernel"]
)
def test_the_key_of_an_override(override):
    assert key_of(override) == "model.kernel"


def test_a_part_of_a_range_is_answered_by_how_to_give_the_whole():
    said = unknown("space.model", ["space"])
    assert "'+space.model.scale={low: 0.5, high: 1.0}'" in said


def test_parameters_in_mlflow_hold_no_place_and_no_password():
    cfg = configure("train", "step=s13", "tracking.uri=http://me:secret@host")
    for key in ("data.source.mirror", "model.weights"):
        OmegaConf.update(cfg, key, "https://me:secret@host/file", force_add=True)
    found = parameters(cfg)
    assert "secret" not in str(found)
    assert found["model.weights"] == "https://me:***@host/file"
    assert {"optimizer.lr", "seed", "budget.parameters", "description"} < found.keys()
    assert not any(kind(key) == PLACE for key in found)
