"""What a step promises, and whether it holds: a check for each promise."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from omegaconf import DictConfig

from experiments.cli.config import require_int, require_number
from experiments.cli.errors import UserError
from experiments.cli.text import measured, percent, points

if TYPE_CHECKING:
    from experiments.budget.cost import Cost
    from experiments.tracking.arms import Arm

HOLDS, MISSED, UNKNOWN = "holds", "missed", "no verdict"
ROUNDING = 1e-6  # accuracies are kept with 32 bits
JUDGED_BY = ("mean", "lower_bound", "last_epoch")


class Check(NamedTuple):
    """One target of one step.

    Attributes:
        step, target: whose it is, and what it is about.
        asked, measured, margin: in words; the margin is what is left.
        verdict: "holds", "missed", or "no verdict" where there is nothing to tell by.
        reason: why it does not hold.
    """

    step: str
    target: str
    asked: str
    measured: str
    margin: str
    verdict: str
    reason: str = ""


def check_targets(cfg: DictConfig) -> None:
    """Refuse targets that make no sense. Raises UserError."""
    if cfg.judged_by not in JUDGED_BY:
        raise UserError(f"judged_by={cfg.judged_by}: choose one of {', '.join(JUDGED_BY)}")
    require_int(cfg, "min_seeds", 1)
    for key in ("max_parameters", "max_mult_adds"):
        if cfg[key] is not None:
            require_int(cfg, key, 1)
    if cfg.min_accuracy is not None:
        require_number(cfg, "min_accuracy", above=0, to=1)


def costs(step: str, cfg: DictConfig, cost: Cost) -> Iterator[Check]:
    """What the network costs, against its limits and its own published count."""
    limits = {
        "parameters": (cost.parameters, cfg.max_parameters),
        "multiply-adds": (cost.mult_adds, cfg.max_mult_adds),
        "bytes": (cost.bytes, cfg.budget.bytes),
    }
    for name, (count, limit) in limits.items():
        if limit is None and name == "parameters":
            yield Check(step, name, "", f"{count:,}", "", HOLDS)
        elif limit is not None:
            left = limit - count
            reason = f"{count:,} {name} are {-left:,} above {limit:,}; the largest: {cost.largest}"
            missed = (MISSED, reason) if left < 0 else (HOLDS,)
            yield Check(step, name, f"at most {limit:,}", f"{count:,}", f"{left:,}", *missed)
    published = cfg.published.parameters if (cfg.published or {}).get("step") == step else None
    if published not in (None, cost.parameters):
        reason = f"{cost.parameters:,} parameters, {published:,} were published"
        yield Check(
            *(step, "published count", f"{published:,}", f"{cost.parameters:,}"),
            *(f"{published - cost.parameters:,}", MISSED, reason),
        )


def evidence(
    step: str, cfg: DictConfig, arm: Arm | None, baseline: dict[str, dict[str, float]] | None
) -> Iterator[Check]:
    """What the runs of a step reached, against its target and the baseline."""
    n = len(arm.scores) if arm else 0
    asked = f"at least {cfg.min_seeds}"
    missing = ""
    if arm and arm.failed:
        missing = f"{'; '.join(arm.failed)} failed: train again, or see why in the run's log"
    elif n < cfg.min_seeds:
        overrides = f"-m step={step} 'seed=range({cfg.min_seeds})'"
        missing = f"{n} finished seeds; python -m experiments.train {overrides} makes them"
    verdict = (UNKNOWN, missing) if missing else (HOLDS,)
    yield Check(step, "seeds", asked, str(n), f"{n - cfg.min_seeds:+d}", *verdict)
    if not n:
        return
    if cfg.min_accuracy is not None:
        yield reached(step, cfg, arm)
    if baseline is not None:
        yield kept(step, arm, baseline.get(arm.name))


def reached(step: str, cfg: DictConfig, arm: Arm) -> Check:
    """The accuracy of a step's runs against its target."""
    from experiments.stats.intervals import interval

    found, lowest = interval(arm.values), min(arm.values)
    shown = measured(found)
    words, figure = {
        "mean": ("the mean", found.mean),
        "lower_bound": ("the lower bound of the mean", found.low),
        "last_epoch": ("the lowest run", lowest),
    }[cfg.judged_by]
    if cfg.judged_by == "last_epoch":
        shown = f"{percent(lowest)} to {percent(max(arm.values))}"
    asked = f"{words} at least {percent(cfg.min_accuracy)}"
    if math.isinf(figure):
        reason = "there is no interval without runs that differ"
        return Check(step, "accuracy", asked, shown, "", UNKNOWN, reason)
    margin = figure - cfg.min_accuracy
    if margin >= -ROUNDING:
        return Check(step, "accuracy", asked, shown, f"{100 * margin:+.2f}", HOLDS)
    below = f"{-100 * margin:.2f} points below {percent(cfg.min_accuracy)}"
    reason = f"{words}, {percent(figure)}, is {below}"
    return Check(step, "accuracy", asked, shown, f"{100 * margin:+.2f}", MISSED, reason)


def kept(step: str, arm: Arm, before: dict[str, float] | None) -> Check:
    """The accuracy of a step's runs against that of the baseline: not worse, beyond noise."""
    from experiments.stats.verdict import difference

    asked = "not worse than the baseline"
    if before is None:
        reason = f"the baseline has no {arm.name}"
        return Check(step, "regression", asked, "", "", UNKNOWN, reason)
    found = difference(before, arm.scores)
    if found.verdict == "worse":
        reason = f"worse than the baseline by {points(found)} points"
        return Check(step, "regression", asked, points(found), "", MISSED, reason)
    return Check(step, "regression", asked, points(found), "", HOLDS)
