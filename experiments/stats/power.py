"""How many seeds a comparison needs."""

import bisect
import math

from statsmodels.stats.power import TTestIndPower, TTestPower

from experiments.stats.intervals import CONFIDENCE
from experiments.stats.verdict import CANNOT_TELL, Difference

POWER = 0.8  # probability of seeing the effect
LIMIT = 1000  # seeds; nobody trains more


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
