"""A configuration composed from conf/ and the overrides of a command line."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

from experiments.cli.errors import UserError
from experiments.cli.keys import key_of

CIRCLE = "files of the configuration name each other in a circle in their defaults"
CONF = Path(__file__).resolve().parents[2] / "conf"
# the groups whose files describe an object that Hydra builds
OBJECTS = ("model", "augmentation", "loss", "optimizer", "scheduler", "sampler")


def groups() -> set[str]:
    """The groups of conf/: keys whose value is the name of a file."""
    return {path.name for path in CONF.iterdir() if path.is_dir()}


def without_null_groups(arguments: Sequence[str]) -> list[str]:
    """A command line with ~GROUP in place of GROUP=null, which Hydra does not accept."""
    choice = re.compile(rf"^({'|'.join(groups())})=null$")
    return [choice.sub(r"~\1", argument) for argument in arguments]


def compose(command: str, overrides: Sequence[str]) -> DictConfig:
    """The configuration that a command has with these overrides. UserError: it has no end."""
    try:
        cfg = hydra.compose(command, [*overrides, *search_path()], return_hydra_config=True)
    except RecursionError as error:
        raise UserError(CIRCLE) from error
    choices = cfg.hydra.runtime.choices
    with open_dict(cfg):
        del cfg["hydra"]
    return complete(command, cfg, overrides, choices)


def complete(command: str, cfg: DictConfig, overrides: Sequence[str], choices: Any) -> DictConfig:
    """The configuration without what a step set for another file than the one that was chosen.

    With `step=s13 scheduler=one_cycle`, the step's `scheduler.step_size` belongs to the
    schedule that it was written for. Hydra keeps it; here the chosen file holds alone, with
    what the command line changes in it.

    Args:
        overrides: of the command line.
        choices: the file that was chosen for each group.
    """
    for group in OBJECTS:
        own = [item for item in overrides if key_of(item).split(".")[0] == group]
        if any(key_of(item) == group for item in own):
            rest = [item for item in overrides if item not in own]
            usual = hydra.compose(command, [*rest, *search_path()], return_hydra_config=True)
            if usual.hydra.runtime.choices.get(group) != choices.get(group):
                plain = "search" if group == "sampler" else "train"  # without a step
                alone = hydra.compose(plain, [*own, *search_path()])
                with open_dict(cfg):
                    cfg[group] = alone.get(group)
    return cfg


def search_path() -> list[str]:
    """The override hydra.searchpath=... of the running command, if there is one."""
    given = HydraConfig.get().overrides.hydra if HydraConfig.initialized() else []
    return [item for item in given if item.startswith("hydra.searchpath=")]
