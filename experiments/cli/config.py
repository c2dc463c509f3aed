"""A configuration: its files, what its keys are for, its values, the objects that it describes."""

from collections.abc import Iterator, Set
from contextlib import contextmanager
from copy import deepcopy
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigSource
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.cli.errors import UserError, one_line

ALIASES = 20  # in one file; one inside the other, they stand for 1,500 copies at most
DEEPEST = 50  # levels of lists and keys

# What a key is for. RESULT: it changes the result, and is part of its identity; PLACE: where and
# how a command runs; JUDGEMENT: what a result is compared with; LABEL: what people call it.
Kind = Enum("Kind", ["RESULT", "PLACE", "JUDGEMENT", "LABEL"])
RESULT, PLACE, JUDGEMENT, LABEL = Kind


def build(cfg: DictConfig, key: str, *args: Any, **kwargs: Any) -> Any:
    """Instantiate the part of a configuration at `key`; None where it is null or missing.
    Raises UserError where the class does not accept a value."""
    try:
        return instantiate(OmegaConf.select(cfg, key), *args, _convert_="all", **kwargs)
    except HydraException as error:
        raise UserError(f"{key}: {one_line(error.__cause__ or error)}") from error


def class_name(part: DictConfig) -> str:
    """The name of the class that a part of a configuration describes, such as "MNIST"."""
    return str(part.get("_target_")).rpartition(".")[2]


def flatten(cfg: DictConfig) -> dict[str, Any]:
    """Every leaf of a configuration, resolved, by its dotted key; lists are leaves."""
    return dict(leaves(OmegaConf.to_container(cfg, resolve=True)))


def leaves(node: Any, key: str = "", ends: Set[str] = frozenset()) -> Iterator[tuple[str, Any]]:
    """Every leaf beneath a node of a configuration, with its dotted key; a group with one of the
    keys `ends` is a leaf."""
    if isinstance(node, dict) and node and not ends & node.keys():
        for name, child in node.items():
            yield from leaves(child, f"{key}.{name}" if key else str(name), ends)
    else:
        yield key, node


def explain_unreadable() -> None:
    """Make Hydra check each file that it reads, and read it once: a command composes up to dozens
    of configurations. Hydra has no hook for that, but a list of readers."""
    readers = Plugins.instance().discover(ConfigSource)
    [files] = [reader for reader in readers if reader.scheme() == "file"]
    load, found = files.load_config, {}

    def load_config(self: ConfigSource, config_path: str) -> Any:
        path = Path(self.path, f"{config_path.removesuffix('.yaml')}.yaml")
        with reading(path) as text:
            key = (self.provider, path, text)
            if key not in found:
                found[key] = load(self, config_path)
        return deepcopy(found[key])  # Hydra changes it

    files.load_config = load_config


@cache
def is_large(text: str) -> bool:
    """Whether a YAML text could fill the memory."""
    aliases = depth = 0
    for event in yaml.parse(text):
        aliases += isinstance(event, yaml.AliasEvent)
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if aliases > ALIASES or depth > DEEPEST:
            return True
    return False


@contextmanager
def reading(path: Path) -> Iterator[str]:
    """The text of a YAML file. Raises UserError where it is not UTF-8, is no YAML, or could fill
    the memory."""
    try:
        text = path.read_text(encoding="utf-8")
        if text.startswith("\ufeff"):
            raise ValueError("begins with a byte order mark; save it as UTF-8 without one")
        if is_large(text):
            raise ValueError(f"has over {ALIASES} aliases (*name), or {DEEPEST} nested levels")
        yield text
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise UserError(f"{path}, line {mark.line + 1}: {error.problem}") from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: is not UTF-8; save it as UTF-8") from error
    except RecursionError as error:
        raise UserError(f"{path}: refers to itself") from error
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{path}: {one_line(error)}") from error
