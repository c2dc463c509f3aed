"""The kinds of the keys of a configuration, the values of a kind, and keys that do not exist."""

from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache, partial
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
    near = nearest(key, [each for each in known if not f"{each}.".startswith(f"{key}.")])
    hint = f"did you mean {' or '.join(near)}?" if near else "see --cfg job for all keys"
    return f"there is no key {key} in the configuration; {hint}"


def nearest(key: str, known: list[str]) -> list[str]:
    """The keys that one is probably meant to be, at most three: `optimizer.lr` for `lr`.

    That which is all but spelled like it; else those whose last part has all its words, or their
    first letters, and of these what changes the result; else what is spelled somewhat like it.
    """
    alike, last = partial(get_close_matches, n=1), {each: each.split(".")[-1] for each in known}
    words = key.rsplit(".", maxsplit=1)[-1].split("_")
    means = [
        each
        for each in known
        if {*words} <= {*last[each].split("_")} or last[each] == "".join(w[:1] for w in words)
    ]
    means = [each for each in means if kind(each) is RESULT] or means
    ends = alike("_".join(words), last.values())
    near = alike(key, known, cutoff=0.85) or means or alike(key, known)
    return (near or [each for each in known if last[each] in ends])[:3]
