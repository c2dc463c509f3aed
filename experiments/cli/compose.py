"""From a command line, as people type it, and the files of conf/ to a configuration."""

import re
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra._internal.hydra import Hydra  # show_completed says why
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from experiments.cli.config import flatten
from experiments.cli.errors import UserError, one_line
from experiments.cli.keys import key_of, unknown

CONF = Path(__file__).resolve().parents[2] / "conf"
# the groups whose files describe an object that Hydra builds
OBJECTS = ("model", "augmentation", "loss", "optimizer", "scheduler", "sampler")
LONGEST = 500  # characters of an error that a library describes


def groups() -> set[str]:
    """The groups of conf/: keys whose value is the name of a file."""
    return {path.name for path in CONF.iterdir() if path.is_dir()}


def readable(command: str, arguments: Sequence[str]) -> list[str]:
    """The arguments of a command, with what Hydra's grammar would not read put as it does.

    step=13 is step s13. GROUP=null is ~GROUP; UserError where it is one of a sweep's choices. To
    predict, model=best is run=best. Any other value that is not of Hydra's grammar, such as the
    filter params.step = 's13', is a text, and gets the quotes of one.
    """
    if command in ("predict", "evaluate"):  # which have no group of networks
        arguments = [re.sub("^model=", "run=", each) for each in arguments]
    return [_readable(each) if re.match(r"[^-].*=", each) else each for each in arguments]


def _readable(argument: str) -> str:
    key, _, value = argument.partition("=")
    group, choices = key.lstrip("+"), value.split(",")
    if group == "step" and any(map(str.isdecimal, choices)):
        return f"{key}=" + ",".join(f"s{int(c):02}" if c.isdecimal() else c for c in choices)
    if group in groups() and "null" in choices:
        if len(choices) > 1:
            raise UserError(
                f"{argument}: a sweep cannot choose null; give ~{key} in a command of its own"
            )
        return f"~{group}"
    try:
        OverridesParser.create().parse_override(argument)
    except HydraException:
        return f"{key}={QuotedString(value, Quote.single).with_quotes()}"
    return argument


def compose(command: str, overrides: Sequence[str]) -> DictConfig:
    """The configuration that a command has with these overrides; UserError if there is none."""
    try:
        cfg = hydra.compose(command, [*overrides, *search_path()], return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, RecursionError) as error:
        raise UserError(explain(error, command, overrides)) from error
    with open_dict(cfg):
        config = cfg.pop("hydra")
    return complete(command, cfg, config)


def complete(command: str, cfg: DictConfig, config: DictConfig) -> DictConfig:
    """The configuration with its step and experiment, and each other file as it was chosen.

    With `step=s13 scheduler=one_cycle`, the step's `scheduler.step_size` belongs to the
    schedule that it was written for. Hydra keeps it; here the chosen file holds alone, with
    what the command line changes in it. `config` is Hydra's own part of the configuration.
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

    def completed(self: Hydra, cfg: DictConfig, cfg_type: str) -> DictConfig:
        if cfg_type == "job":
            cfg = complete(cfg.hydra.job.config_name, cfg, cfg.hydra)
        return sanitized(self, cfg, cfg_type)

    Hydra.get_sanitized_cfg = completed


def swept(overrides: Sequence[str]) -> dict[str, list[str]]:
    """The values that a sweep gives to each of its keys, by key."""
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    given = parser.parse_overrides(list(overrides))
    return {
        one.get_key_element(): list(one.sweep_string_iterator())
        for one in given
        if one.is_sweep_override()
    }


def search_path() -> list[str]:
    """The override hydra.searchpath=... of the running command, if there is one."""
    given = HydraConfig.get().overrides.hydra if HydraConfig.initialized() else []
    return [item for item in given if item.startswith("hydra.searchpath=")]


def explain(error: Exception, command: str, overrides: Sequence[str]) -> str:
    """One line about an error in what the user gave, with the keys that are probably meant."""
    if isinstance(error, UserError | RecursionError):
        circle = "files of the configuration name each other in a circle in their defaults"
        return circle if isinstance(error, RecursionError) else str(error)
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = (error.missing_cfg_file or "").rpartition("/")
        return f"{group}={choice} does not exist; choose one of {', '.join(error.options)}"
    if isinstance(error, OverrideParseException):
        return f"{error.override} is not understood; write KEY=VALUE"
    key = getattr(error.__cause__, "full_key", None)
    if not key or "Could not override" not in str(error):
        return one_line(error)[:LONGEST]
    chosen = [item for item in overrides if key_of(item) in groups()]
    try:
        known = flatten(hydra.compose(command, chosen))
    except (HydraException, OmegaConfBaseException):  # several steps, or one of another folder
        known = flatten(hydra.compose(command))
    if key in known:
        return f"{key} cannot be set: {key.partition('.')[0]} is null, or not chosen"
    return unknown(key, known)
