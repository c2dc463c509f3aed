"""What a search found, as step files, and the runs of `experiments.train` with these."""

from pathlib import Path

import yaml
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from experiments.budget.network import prepare
from experiments.cli.compose import search_path
from experiments.cli.config import JUDGEMENT, PLACE, RESULT
from experiments.cli.files import write
from experiments.cli.jobs import announce
from experiments.cli.keys import key_of, kind, select
from experiments.tracking.identity import name_experiment, run_name
from experiments.training.fit import Member, train

NOT_A_STEP = ("step", "experiment", "seed", "launcher")  # groups and keys that it does not hold


def write_step(cfg: DictConfig, found: str, path: Path) -> str:
    """Write a step file that trains a network on all training images, with its data and target.

    Args:
        cfg: the configuration of its runs.
        found: how it was found, one line.

    Returns:
        The name of the step.
    """
    cfg = cfg.copy()
    cfg.data.holdout = None
    usual = compose("train", return_hydra_config=True).hydra.runtime.choices
    groups = {
        group: choice
        for group, choice in HydraConfig.get().runtime.choices.items()
        if choice != usual.get(group, choice) and "/" not in group and group not in NOT_A_STEP
    }
    chosen = [f"{group}={name}" for group, name in groups.items()]
    theirs = select(compose("train", overrides=[*chosen, *search_path()]), RESULT, JUDGEMENT, PLACE)
    kept = {
        key: value
        for key, value in select(cfg, RESULT, JUDGEMENT, PLACE).items()
        if kind(key) != PLACE or key == "data.root"
    }
    changes = OmegaConf.create()
    for key, value in kept.items():
        if key not in NOT_A_STEP and (key, value) not in theirs.items():
            OmegaConf.update(changes, key, value)
    lines = (
        "# @package _global_",
        f"# {found}",
        "defaults:",
        *(f"  - override /{group}: {name}" for group, name in groups.items()),
        "  - _self_",
        "",
        f"description: {cfg.description}",
        yaml.safe_dump(
            OmegaConf.to_container(changes), sort_keys=False, default_flow_style=None, width=98
        ),
    )
    write(path.absolute(), "\n".join(lines))
    return path.absolute().with_suffix("").as_posix().rpartition("/step/")[2]  # the value of step=


def train_step(step: str, seed: int) -> Member:
    """Train the run of `python -m experiments.train step=... seed=...` in this place, unless it
    was trained before."""
    overrides, known = HydraConfig.get().overrides, compose("train")
    here = [
        item
        for item in overrides.task
        if (key := key_of(item)) == "launcher"  # it may say on which device
        or (kind(key) == PLACE and key.split(".")[0] in known and key != "force")
    ]
    cfg = compose("train", overrides=[f"step={step}", f"seed={seed}", *here, *search_path()])
    cfg.step = step
    cfg.name = name_experiment(cfg, "train", [f"step={step}"])
    announce(name=run_name(cfg))
    _, _, [member] = train([cfg], *prepare([cfg]))
    return member
