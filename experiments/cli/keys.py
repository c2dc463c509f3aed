"""The kinds of the keys of a configuration, the values of a kind, and keys that do not exist."""

import difflib
from collections.abc import Iterable
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


def unknown(key: str, known: Iterable[str]) -> str:
    """A sentence about a key that does not exist, with those that are probably meant."""
    from experiments.cli.lightning_keys import REFUSED  # as above

    if key in REFUSED:
        return f"{key} is not for a run: {REFUSED[key]}"
    near = nearest(key, [each for each in known if each != key])
    hint = f"did you mean {' or '.join(near)}?" if near else "see --cfg job for all keys"
    return f"there is no key {key} in the configuration; {hint}"


def nearest(key: str, known: list[str]) -> list[str]:
    """The keys that one is probably meant to be, at most three: `optimizer.lr` for `lr`.

    Those that are all but spelled like it; else those that end in the same word or words, and
    change the result, if any of them does; else those that are spelled somewhat like it.
    """
    last, lasts = key.rpartition(".")[2], [each.rpartition(".")[2] for each in known]
    if alike := difflib.get_close_matches(key, known, n=1, cutoff=0.85):
        return alike
    words = set(last.split("_"))
    for means in (last.__eq__, lambda other: words <= set(other.split("_"))):
        found = [each for each, other in zip(known, lasts, strict=True) if means(other)]
        if found := [each for each in found if kind(each) is RESULT] or found:
            return found[:3]
    if alike := difflib.get_close_matches(key, known, n=1):
        return alike
    alike = difflib.get_close_matches(last, lasts, n=1)
    return [each for each, other in zip(known, lasts, strict=True) if other in alike][:3]
