"""A mean over seeds with its confidence interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
ALIKE = 1e-6  # a deviation as small as this is but rounding


class Interval(NamedTuple):
    """A mean with its confidence interval; n values."""

    mean: float
    low: float
    high: float
    n: int


def interval(values: Sequence[float]) -> Interval:
    """The mean with its 95 % t interval, without ends where there is one value, or no other."""
    n, mean = len(values), float(np.mean(values))
    if n < 2 or np.std(values) < ALIKE:
        return Interval(mean, -math.inf, math.inf, n)
    low, high = stats.t.interval(CONFIDENCE, n - 1, mean, stats.sem(values))
    return Interval(mean, float(low), float(high), n)
