"""What a search tells before its first run, by one worker or by several."""

import pytest
from conftest import PROJECT
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig


def told(*overrides: str) -> DictConfig:
    """Tell the plan of a sweep, as Hydra has it told; the configuration."""
    with initialize_config_dir(version_base="1.3", config_dir=str(PROJECT / "conf")):
        cfg = compose("search", overrides=[*overrides], return_hydra_config=True)
    instantiate(cfg.hydra.callbacks.plan).on_multirun_start(cfg)
    return cfg


def test_the_screen_is_as_kept(screen, capsys):
    removed = "+space.model.dropout=null"
    told("search=plain", "smallest_above=0.994", "budget.mult_adds=1_000_000", removed)
    screen("search-plan", capsys.readouterr().out)


def test_a_value_that_no_worker_takes_is_left_to_them(capsys):
    told("trials=many")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("study", [None, "night"])
def test_without_a_target_it_is_the_most_accurate_one(capsys, study):
    told(f"study={study or 'null'}")
    assert capsys.readouterr().out.startswith(f"search {study or 'scale'}: the most accurate net")
