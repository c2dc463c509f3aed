"""A mean over seeds with its confidence interval."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from experiments.stats.target import ROUNDING, reaches

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A mean of n values with the ends of its confidence interval, infinite where unknown."""

    mean: float
    low: float
    high: float
    n: int


def interval(values: Sequence[float]) -> Interval:
    """The mean with its 95 % t interval.

    The ends are infinite for a single value and for values that are equal within rounding:
    these say nothing about the noise.
    """
    n, mean = len(values), float(np.mean(values))
    if n < 2 or np.std(values) < ROUNDING:
        return Interval(mean, -math.inf, math.inf, n)
    low, high = stats.t.interval(CONFIDENCE, n - 1, mean, stats.sem(values))
    return Interval(mean, float(low), float(high), n)


def judge(found: Interval, target: float) -> str:
    """Whether a mean is known to reach its target, by both ends of its interval."""
    if reaches(found.low, target):
        return "reaches"
    return "cannot tell whether it reaches" if reaches(found.high, target) else "misses"
