"""The one rule for whether an accuracy reaches its target."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.stats.intervals import Interval

ROUNDING = 1e-6  # stores and networks keep accuracies with 32 bits


def reaches(accuracy: float, target: float) -> bool:
    """Whether an accuracy is at least its target, within rounding."""
    return accuracy >= target - ROUNDING


def judge(found: Interval, target: float) -> str:
    """Whether a mean is known to reach its target, by both ends of its interval."""
    if reaches(found.low, target):
        return "reaches"
    return "cannot tell whether it reaches" if reaches(found.high, target) else "misses"
