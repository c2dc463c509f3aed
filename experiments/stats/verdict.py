"""What the accuracies of several seeds say, and how surely."""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy import stats

from experiments.stats.intervals import ALIKE, CONFIDENCE, Interval

POWER = 0.8  # of the comparison that `more_seeds` plans
ENOUGH = 1000  # seeds; who needs more of them is looking for nothing
BETTER, WORSE, CANNOT_TELL = "better", "worse", "cannot tell"


class Difference(NamedTuple):
    """How far one arm is above another.

    Attributes:
        mean, low, high: the difference of the means, and its confidence interval.
        paired: whether seed was held against seed.
        deviation: of the paired differences, else that of both arms pooled; NaN where
            nothing is known of it.
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

    @property
    def more_seeds(self) -> int | None:
        """How many more each arm needs for a difference as large as this one to be told.

        In 80 % of cases; 0 where it is told already, None where more than 1,000 would
        be needed or nothing is known of the noise.
        """
        if self.verdict != CANNOT_TELL:
            return 0
        if math.isnan(self.deviation):
            return None
        needed = seeds_needed(abs(self.mean) / self.deviation, self.paired)
        return None if needed is None else max(needed - self.n, 1)


def difference(before: Mapping[int, float], after: Mapping[int, float]) -> Difference:
    """Hold two arms against each other, each with the accuracy of every seed.

    The same seeds are paired, by a t test of their differences; others go to Welch's
    test, which takes the arms as independent. Where no value differs from another
    nothing is known of the noise, and nothing is claimed.
    """
    paired = before.keys() == after.keys()
    x = np.array([before[seed] for seed in sorted(before)])
    y = np.array([after[seed] for seed in sorted(after)])
    mean, n = float(y.mean() - x.mean()), min(len(x), len(y))
    spread = np.std(y - x) if paired else np.std(x) + np.std(y)
    if n < 2 or spread < ALIKE:
        return Difference(mean, -math.inf, math.inf, paired, math.nan, n)
    test = stats.ttest_rel(y, x) if paired else stats.ttest_ind(y, x, equal_var=False)
    low, high = map(float, test.confidence_interval(CONFIDENCE))
    deviation = np.std(y - x, ddof=1) if paired else math.sqrt((x.var(ddof=1) + y.var(ddof=1)) / 2)
    return Difference(mean, low, high, paired, float(deviation), n)


def seeds_needed(effect: float, paired: bool) -> int | None:
    """The fewest seeds an arm with which a t test sees an effect in 80 % of cases.

    From the noncentral t distribution (Cohen, Statistical Power Analysis, 1988, ch. 2).

    Args:
        effect: difference of the means over the deviation, of the differences where
            they are paired, else of an arm.

    Returns:
        At least 2; None for more than 1,000.
    """

    def power(n: int) -> float:
        freedom = n - 1 if paired else 2 * (n - 1)
        shift = effect * math.sqrt(n if paired else n / 2)
        critical = stats.t.ppf((1 + CONFIDENCE) / 2, freedom)
        return stats.nct.sf(critical, freedom, shift) + stats.nct.cdf(-critical, freedom, shift)

    n = 2 + bisect.bisect_left(range(2, ENOUGH + 1), POWER, key=power)
    return n if n <= ENOUGH else None


def held(found: Interval, target: float) -> str:
    """Whether an accuracy is known to reach its target, in words."""
    if found.low >= target:
        return "reaches"
    return "misses" if found.high < target else "cannot tell whether it reaches"
