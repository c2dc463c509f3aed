"""A configuration: what its keys are for, its values, and the objects that it describes."""

from collections.abc import Iterator
from enum import Enum
from typing import Any

from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from experiments.cli.errors import UserError, one_line


class Kind(Enum):
    """What a key of a configuration is for."""

    RESULT = "changes the result"  # part of the identity
    PLACE = "where and how a command runs"
    JUDGEMENT = "what a result is compared with"
    LABEL = "what people call it"


RESULT, PLACE, JUDGEMENT, LABEL = Kind


def build(cfg: DictConfig, key: str, *args: Any, **kwargs: Any) -> Any:
    """Instantiate the part of a configuration at `key`; None where it is null or missing.

    Raises:
        UserError: the class does not accept a value.
    """
    part = OmegaConf.select(cfg, key)
    if part is None:
        return None
    try:
        return instantiate(part, *args, _convert_="all", **kwargs)
    except HydraException as error:
        raise UserError(f"{key}: {one_line(error.__cause__ or error)}") from error


def flatten(cfg: DictConfig) -> dict[str, Any]:
    """Every leaf of a configuration, resolved, by its dotted key; lists are leaves."""
    return dict(leaves(OmegaConf.to_container(cfg, resolve=True)))


def leaves(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf beneath a node of a configuration, with its dotted key."""
    if isinstance(node, dict) and node:
        for name, child in node.items():
            yield from leaves(child, f"{key}.{name}" if key else str(name))
    else:
        yield key, node
