"""A configuration composed from conf/ and the overrides of a command line."""

import functools
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra._internal.hydra import Hydra
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


def compose(command: str, overrides: Sequence[str]) -> DictConfig:
    """The configuration that a command has with these overrides. UserError: it has no end."""
    try:
        cfg = hydra.compose(command, [*overrides, *search_path()], return_hydra_config=True)
    except RecursionError as error:
        raise UserError(CIRCLE) from error
    with open_dict(cfg):
        config = cfg.pop("hydra")
    return complete(command, cfg, config)


def complete(command: str, cfg: DictConfig, config: DictConfig) -> DictConfig:
    """The configuration with its step and experiment, and each other file as it was chosen.

    With `step=s13 scheduler=one_cycle`, the step's `scheduler.step_size` belongs to the
    schedule that it was written for. Hydra keeps it; here the chosen file holds alone, with
    what the command line changes in it.

    Args:
        config: Hydra's own part of the configuration.
    """
    overrides, choices = config.overrides.task, config.runtime.choices
    for group in ("step", "experiment"):
        if group in cfg and cfg[group] is None:
            cfg[group] = choices.get(group)
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


def show_completed() -> None:
    """Make Hydra's --cfg and --help show what a command would use. Hydra has no hook for that."""
    sanitized = Hydra.get_sanitized_cfg

    @functools.wraps(sanitized)
    def completed(self: Hydra, cfg: DictConfig, cfg_type: str) -> DictConfig:
        if cfg_type == "job":
            cfg = complete(cfg.hydra.job.config_name, cfg, cfg.hydra)
        return sanitized(self, cfg, cfg_type)

    Hydra.get_sanitized_cfg = completed


def search_path() -> list[str]:
    """The override hydra.searchpath=... of the running command, if there is one."""
    given = HydraConfig.get().overrides.hydra if HydraConfig.initialized() else []
    return [item for item in given if item.startswith("hydra.searchpath=")]
