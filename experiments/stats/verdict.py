"""The difference between two arms: its interval, the verdicts, and how many seeds they need."""

import bisect
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestIndPower, TTestPower

from experiments.stats.intervals import CONFIDENCE
from experiments.stats.target import BETTER, CANNOT_TELL, FAILS, HOLDS, ROUNDING, WORSE

POWER = 0.8  # probability of seeing the effect
LIMIT = 1000  # seeds; nobody trains more
LEAST = 5  # seeds; three that agree by chance would advise none, and err in 8 % of cases


class Difference(NamedTuple):
    """How far the mean of one arm is above that of another, with its 95 % interval."""

    mean: float
    low: float
    high: float
    paired: bool  # whether the values were compared seed by seed
    deviation: float  # of the paired differences, or of both arms pooled; NaN if unknown
    n: int  # seeds of the arm that has fewer
    p: float = math.nan  # two-sided, that the means are equal; NaN if the noise is unknown
    floor: float = -math.inf  # one-sided 95 % bounds
    ceiling: float = math.inf

    @property
    def verdict(self) -> str:
        return BETTER if self.low > 0 else WORSE if self.high < 0 else CANNOT_TELL

    def corrected(self, p: float) -> str:
        """The verdict by a p value that was corrected for several comparisons."""
        return self.verdict if p < 1 - CONFIDENCE else CANNOT_TELL

    def no_worse(self, margin: float) -> str:
        """Whether the arm is worse by no more than a margin, 0 to 1: a non-inferiority test,
        one-sided, at 95 %. Piaggio et al. (2012), JAMA 308(24)."""
        above, below = self.floor > -margin, self.ceiling < -margin
        return HOLDS if above else FAILS if below else CANNOT_TELL


def difference(before: Mapping[str, float], after: Mapping[str, float]) -> Difference:
    """Compare two arms, each given as the accuracy of every seed: with the same seeds by a paired
    t test, else by Welch's test of independent samples. If the values are equal within rounding,
    the noise is unknown and the intervals are infinite; but arms that agree seed by seed while
    seeds differ are the same runs: neither is worse."""
    paired = before.keys() == after.keys()
    x = np.array([before[seed] for seed in sorted(before)])
    y = np.array([after[seed] for seed in sorted(after)])
    mean, n = float(y.mean() - x.mean()), min(len(x), len(y))
    spread = np.std(y - x) if paired else np.std(x) + np.std(y)
    if n < 2 or spread < ROUNDING:
        same = n > 1 and paired and np.allclose(x, y, 0, ROUNDING) and np.ptp(x) > ROUNDING
        bounds = (math.nan, 0.0, 0.0) if same else ()
        return Difference(mean, -math.inf, math.inf, paired, math.nan, n, *bounds)
    test = stats.ttest_rel(y, x) if paired else stats.ttest_ind(y, x, equal_var=False)
    low, high = map(float, test.confidence_interval(CONFIDENCE))
    bounds = map(float, test.confidence_interval(2 * CONFIDENCE - 1))  # each of them one-sided
    deviation = np.std(y - x, ddof=1) if paired else math.sqrt((x.var(ddof=1) + y.var(ddof=1)) / 2)
    return Difference(mean, low, high, paired, float(deviation), n, float(test.pvalue), *bounds)


def more_seeds(found: Difference, smallest: float) -> int | None:
    """How many more seeds each arm needs to see a difference of `smallest`, 0 to 1, at least five
    in all; None where the noise is unknown or more than 1,000 are needed. It follows from the
    deviation alone: with the observed difference it would follow the noise, and testing again
    would err more often."""
    if math.isnan(found.deviation):
        return None
    needed = seeds_needed(smallest / found.deviation, found.paired)
    return None if needed is None else max(needed - found.n, LEAST - found.n, 0)


def seeds_needed(effect: float, paired: bool, alpha: float = 1 - CONFIDENCE) -> int | None:
    """The fewest seeds in each arm, from 2 on, with which a t test sees an effect in 80 % of cases,
    and in `alpha` of cases where there is none; None for more than 1,000. An effect is the
    difference of means over the deviation: of differences if paired, else of an arm (Cohen's d)."""
    test = TTestPower() if paired else TTestIndPower()
    counts = range(2, LIMIT + 1)
    place = bisect.bisect_left(counts, POWER, key=lambda n: test.power(effect, n, alpha))
    return counts[place] if place < len(counts) else None


def holm(p_values: Sequence[float]) -> list[float]:
    """P values of several comparisons after Holm's correction: where nothing differs, all of
    them together err in at most 5 % of cases. NaN stays NaN, and does not count.
    Holm (1979), A simple sequentially rejective multiple test procedure."""
    corrected = np.array(p_values, dtype=float)
    known = ~np.isnan(corrected)
    if known.any():
        corrected[known] = multipletests(corrected[known], method="holm")[1]
    return corrected.tolist()
