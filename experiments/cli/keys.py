"""The kinds of the keys of a configuration, and the values of a kind."""

from functools import cache
from typing import Any

from omegaconf import DictConfig

from experiments.cli.config import flatten
from experiments.cli.kinds import PLACE, RESULT, Kind


@cache
def kinds() -> dict[str, Kind]:
    """The kind of every key of every command, by its dotted name, as the schema has it."""
    from experiments.cli.schema import SCHEMAS, walk  # --help need not wait for pydantic

    # groups of conf/ that are no keys of their own, and Hydra's settings
    found = {"launcher": PLACE, "hydra": PLACE, "search": RESULT}
    for schema in SCHEMAS.values():
        for key, marks in walk(schema):
            found[key] = next((mark for mark in marks if isinstance(mark, Kind)), RESULT)
    return found


def kind(key: str) -> Kind:
    """The kind of a dotted key: that of its longest prefix in the table, else RESULT."""
    while key not in kinds() and "." in key:
        key = key.rpartition(".")[0]
    return kinds().get(key, RESULT)


def select(cfg: DictConfig, *kinds: Kind) -> dict[str, Any]:
    """The values of the given kinds, resolved, by their dotted keys."""
    return {key: value for key, value in flatten(cfg).items() if kind(key) in kinds}


def key_of(override: str) -> str:
    """The key that an override of the command line sets: "model.kernel" of "+model.kernel=5"."""
    return override.lstrip("+~").partition("=")[0].replace("/", ".")
