"""A configuration: what its keys are for, its values, and the objects that it describes."""

from collections.abc import Iterator, Set
from enum import Enum
from typing import Any

from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from experiments.cli.errors import UserError, one_line

# What a key is for. RESULT: it changes the result, and is part of its identity; PLACE: where and
# how a command runs; JUDGEMENT: what a result is compared with; LABEL: what people call it.
Kind = Enum("Kind", ["RESULT", "PLACE", "JUDGEMENT", "LABEL"])
RESULT, PLACE, JUDGEMENT, LABEL = Kind


def build(cfg: DictConfig, key: str, **kwargs: Any) -> Any:
    """Instantiate the part of a configuration at `key`; None where it is null or missing.
    Raises UserError where the class does not accept a value."""
    try:
        return instantiate(OmegaConf.select(cfg, key), _convert_="all", **kwargs)
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
