"""From a command line, as people type it, and the files of conf/ to a configuration."""

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import hydra
import hydra._internal.hydra as internal  # the loader says why
from hydra.core.default_element import GroupDefault, ResultDefault
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.cli.config import flatten
from experiments.cli.errors import UserError, one_line
from experiments.cli.keys import REFUSED, key_of, kinds, nearest, unknown
from experiments.cli.yaml_files import check_files

CONF = Path(__file__).resolve().parents[2] / "conf"
# the groups whose files describe an object that Hydra builds
OBJECTS = ("model", "augmentation", "loss", "optimizer", "scheduler", "sampler")


def groups() -> set[str]:
    """The groups of conf/: keys whose value is the name of a file."""
    return {path.name for path in CONF.iterdir() if path.is_dir()}


def readable(command: str, arguments: Sequence[str]) -> list[str]:
    """The arguments of a command, rewritten where Hydra's grammar could not read them.

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
    with suppress(HydraException):
        parsed = OverridesParser.create().parse_override(argument).value()
        if group not in groups() or not isinstance(parsed, int | float):  # which is no file's name
            return argument
    return f"{key}={QuotedString(value, Quote.single).with_quotes()}"


class Loader(internal.ConfigLoaderImpl):
    """Hydra's, by two rules of ours, for which it has no setting.

    A configuration names its step and its experiment. And what a file says of a group in OBJECTS
    holds for the choice that it was written for: with `step=s13 scheduler=one_cycle`, the step's
    `scheduler.step_size` belongs to another schedule, and Hydra would keep it.
    """

    def load_configuration(
        self, config_name: str | None, overrides: list[str], *args: Any, **kwargs: Any
    ) -> DictConfig:
        self.typed = {key_of(item) for item in overrides}
        cfg = super().load_configuration(config_name, overrides, *args, **kwargs)
        for group in ("step", "experiment"):
            if OmegaConf.is_dict(cfg.get(group)):
                raise UserError(
                    f"the file that {group}= names must begin with the line # @package _global_; "
                    "without it, its keys do not reach the run"
                )
            if cfg.get(group) is not None:
                raise UserError(
                    f"{group}: {cfg[group]} in a file: the program sets this key; to begin from a "
                    f"file, name it in the defaults"
                )
            if group in cfg:
                cfg[group] = cfg.hydra.runtime.choices.get(group)
        return cfg

    def _compose_config_from_defaults_list(
        self, defaults: list[ResultDefault], repo: Any
    ) -> DictConfig:
        merge, mixed = super()._compose_config_from_defaults_list, set()
        cfg, kept = merge(defaults, repo), {group: [] for group in OBJECTS}
        last = {each.override_key: each.config_path for each in defaults}
        chosen: dict[str, str | None] = {}  # of each group, in the files read so far
        for default in defaults:
            package = (default.package or "").partition(".")[0]
            if package in kept:
                kept[package].append(default)
            elif not package:  # its keys are those of the whole configuration
                file = repo.load_config(default.config_path)
                for item in file.defaults_list:
                    if isinstance(item, GroupDefault):
                        group = item.group.lstrip("/")
                        chosen[group] = f"{group}/{item.value}" if item.value else None
                for group, value in OmegaConf.to_container(file.config).items():
                    before, typed = chosen.get(group), group in self.typed
                    if group not in kept or (value is None and before is None and not typed):
                        continue
                    if before != last.get(group) or (value is None and typed):
                        mixed.add(group)  # a later choice, or a typed one, holds
                    elif value is None:
                        mixed.discard(group)
                    else:
                        kept[group].append(default)
        for group in mixed:
            cfg[group] = merge(kept[group], repo).get(group)
        return cfg


def use_loader() -> None:
    """Make Hydra compose with our loader, from files that are checked."""
    check_files()
    internal.ConfigLoaderImpl = Loader


def started(conf: Path = CONF) -> hydra.initialize_config_dir:
    """The context in which `compose` works where no command runs."""
    use_loader()
    return hydra.initialize_config_dir(version_base="1.3", config_dir=str(conf))


def compose(command: str, overrides: Sequence[str]) -> DictConfig:
    """The configuration that a command has with these overrides; UserError if there is none."""
    try:
        return hydra.compose(command, [*overrides, *search_path()])
    except (HydraException, OmegaConfBaseException, RecursionError) as error:
        raise UserError(explain(error, command, overrides)) from error


def swept(overrides: Sequence[str]) -> dict[str, list[str]]:
    """The values that a sweep gives to each of its keys, by key."""
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    last = {one.get_key_element(): one for one in parser.parse_overrides(list(overrides))}
    return {
        key: list(one.sweep_string_iterator())
        for key, one in last.items()
        if one.is_sweep_override()
    }


def search_path() -> list[str]:
    """The override hydra.searchpath=... of the running command, if there is one."""
    given = HydraConfig.get().overrides.hydra if HydraConfig.initialized() else []
    return [item for item in given if item.startswith("hydra.searchpath=")]


def explain_group(group: str, command: str, overrides: Sequence[str]) -> str:
    """What to do in place of choosing a file of a group that a command does not have."""
    ways = sorted({"filter", "where"} & flatten(hydra.compose(command)).keys())
    name = next(item.partition("=")[2] for item in overrides if key_of(item) == group)
    hint = f"; choose runs by {ways[0]}=\"params.{group} = '{name}'\"" if ways else ""
    return f"{command} takes no {group}=" + (hint if group in ("step", "experiment") else "")


def explain_values(raw: str, command: str) -> str:
    """What is to be done where Hydra says that a key has several values; else what it says."""
    several = r"(?:Ambiguous value for argument|Sweep parameters) '(([^=]+)=(.+?))' (?:1|requires)"
    if not (found := re.match(several, raw)):
        return raw
    given, key, values = found.groups()
    one = f"give one, or where {key} takes a list, '{key}=[{values}]'"
    way = "add -m to run each" if command in ("train", "search") else one
    return f"{given} has several values; {way}"


def explain_word(word: str, known: dict[str, Any]) -> str:
    """What is probably meant by an argument that is not KEY=VALUE, where a command has `known`."""
    typed, value = word, "VALUE"
    if flag := word.startswith("-"):
        word, _, value = word.lstrip("-").partition("=")
        word = word.replace("-", "_")
    elif "=" in word:
        return f"{word} is not understood; close its brackets, and put it in quotes"
    if word in REFUSED:
        return unknown(word, known)
    own = {key.partition(".")[0] for key in known} | {"launcher"}
    asked = f"s{int(word):02}" if word.isdecimal() and not flag else word
    choices = [(group, name) for group in groups() if group in own for name in files_of(group)]
    meant = [f"{group}={name}" for group, name in choices if asked in (name, Path(name).name)]
    if word in own or not meant:
        near = [word] if word in own else nearest(key_of(word), [*known, *own])
        meant = [f"{key}={value or 'VALUE'}" for key in near]
    return f"{typed} is not understood; write {' or '.join(meant) or 'KEY=VALUE'}"


def files_of(group: str) -> list[str]:
    """What a group of conf/ can be set to, such as "found/hand" of step."""
    folder = CONF / group
    return sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.yaml"))


def explain(error: Exception, command: str, overrides: Sequence[str]) -> str:
    """One line about an error in what the user gave, with the keys that are probably meant."""
    if isinstance(error, UserError | RecursionError):
        circle = "the defaults lists of the files include each other in a circle"
        return circle if isinstance(error, RecursionError) else str(error)
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = (error.missing_cfg_file or "").rpartition("/")
        return f"{group}={choice} does not exist; choose one of {', '.join(error.options)}"
    bare = isinstance(error, OverrideParseException)
    key = error.override if bare else getattr(error.__cause__, "full_key", None)
    lacking = re.match(r"Could not override '([\w/]+)'\.\s+No match", str(error))
    if lacking or not key or not (bare or "Could not override" in str(error)):
        group = lacking and explain_group(lacking[1], command, overrides)
        return group or explain_values(one_line(error), command)
    chosen = [item for item in overrides if key_of(item) in groups()]
    try:
        known = flatten(hydra.compose(command, chosen))
    except (HydraException, OmegaConfBaseException):  # several steps, or one of another folder
        known = flatten(hydra.compose(command))
    if bare:
        return explain_word(key, known)
    if key in known:
        return f"{key} cannot be set: {key.partition('.')[0]} is null, or not chosen"
    add = f"{key} has no value so far; write +{key}=VALUE"
    return add if key in kinds(command) else unknown(key, known)
