"""The difference between two arms: its interval, the verdict, and how many seeds it needs."""

import bisect
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy import stats
from statsmodels.stats.power import TTestIndPower, TTestPower

from experiments.stats.intervals import CONFIDENCE
from experiments.stats.target import ROUNDING

BETTER, WORSE, CANNOT_TELL = "better", "worse", "cannot tell"
POWER = 0.8  # probability of seeing the effect
LIMIT = 1000  # seeds; nobody trains more


class Difference(NamedTuple):
    """How far the mean of one arm is above that of another.

    Attributes:
        mean, low, high: the difference of the means and its confidence interval.
        paired: whether the values were compared seed by seed.
        deviation: of the paired differences, or of both arms pooled; NaN if unknown.
        n: seeds of the arm that has fewer.
    """

    mean: float
    low: float
    high: float
    paired: bool
    deviation: float
    n: int

    @property
    def verdict(self) -> str:
        return BETTER if self.low > 0 else WORSE if self.high < 0 else CANNOT_TELL


def difference(before: Mapping[str, float], after: Mapping[str, float]) -> Difference:
    """Compare two arms, each given as the accuracy of every seed.

    Arms with the same seeds take a paired t test, others Welch's test of independent
    samples. If the values are equal within rounding, the noise is unknown and the interval
    is infinite.
    """
    paired = before.keys() == after.keys()
    x = np.array([before[seed] for seed in sorted(before)])
    y = np.array([after[seed] for seed in sorted(after)])
    mean, n = float(y.mean() - x.mean()), min(len(x), len(y))
    spread = np.std(y - x) if paired else np.std(x) + np.std(y)
    if n < 2 or spread < ROUNDING:
        return Difference(mean, -math.inf, math.inf, paired, math.nan, n)
    test = stats.ttest_rel(y, x) if paired else stats.ttest_ind(y, x, equal_var=False)
    low, high = map(float, test.confidence_interval(CONFIDENCE))
    deviation = np.std(y - x, ddof=1) if paired else math.sqrt((x.var(ddof=1) + y.var(ddof=1)) / 2)
    return Difference(mean, low, high, paired, float(deviation), n)


def more_seeds(found: Difference) -> int | None:
    """How many more seeds each arm needs to see a difference as large as this one.

    Returns:
        0 where the verdict is clear already; None where the noise is unknown or more than
        1,000 seeds are needed.
    """
    if found.verdict != CANNOT_TELL:
        return 0
    if math.isnan(found.deviation):
        return None
    needed = seeds_needed(abs(found.mean) / found.deviation, found.paired)
    return None if needed is None else max(needed - found.n, 1)


def seeds_needed(effect: float, paired: bool) -> int | None:
    """The fewest seeds in each arm with which a t test sees an effect in 80 % of cases.

    Args:
        effect: difference of the means over the deviation: of the differences if paired,
            else of one arm (Cohen's d).

    Returns:
        At least 2; None for more than 1,000.
    """
    test = TTestPower() if paired else TTestIndPower()
    counts = range(2, LIMIT + 1)
    place = bisect.bisect_left(counts, POWER, key=lambda n: test.power(effect, n, 1 - CONFIDENCE))
    return counts[place] if place < len(counts) else None
