"""Checks of the gate, each of one target of a step; those of the cost of its network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from omegaconf import DictConfig

if TYPE_CHECKING:
    from experiments.budget.network import Cost

HOLDS, MISSED, UNKNOWN = "holds", "missed", "no verdict"
HEADER, RIGHT = ("step", "target", "asked", "measured", "margin", "verdict"), ("measured", "margin")


class Check(NamedTuple):
    """One target of one step, in texts.

    Attributes:
        margin: how far the measured is above what was asked.
        reason: why it does not hold; empty if it holds.
        otherwise: the verdict if it does not hold: MISSED, or UNKNOWN for too little evidence.
    """

    step: str
    target: str
    asked: str
    measured: str
    margin: str
    reason: str = ""
    otherwise: str = MISSED

    @property
    def verdict(self) -> str:
        return self.otherwise if self.reason else HOLDS

    @property
    def cells(self) -> tuple[str, ...]:
        """Its texts in the order of HEADER."""
        return (*self[:5], self.verdict)


def costs(step: str, cfg: DictConfig, cost: Cost) -> Iterator[Check]:
    """What the network costs, compared with its limits and its published count."""
    limits = {
        "parameters": (cost.parameters, cfg.max_parameters),
        "multiply-adds": (cost.mult_adds, cfg.max_mult_adds),
        "bytes": (cost.bytes, cfg.budget.bytes),
    }
    for name, (count, limit) in limits.items():
        if limit is not None:
            left = limit - count
            over = f"{count:,} {name} are {-left:,} above {limit:,}; the largest: {cost.largest}"
            reason = over if left < 0 else ""
            yield Check(step, name, f"at most {limit:,}", f"{count:,}", f"{left:,}", reason)
        elif name == "parameters":
            yield Check(step, name, "", f"{count:,}", "")
    published = cfg.published.parameters if (cfg.published or {}).get("step") == step else None
    if published not in (None, cost.parameters):
        asked, measured = f"{published:,}", f"{cost.parameters:,}"
        margin = f"{published - cost.parameters:,}"
        reason = f"{measured} parameters, {asked} were published"
        yield Check(step, "published count", asked, measured, margin, reason)
