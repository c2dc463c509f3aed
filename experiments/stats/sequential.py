"""Verdicts while seeds are added one by one: a group-sequential t test."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import stats

from experiments.stats.intervals import CONFIDENCE
from experiments.stats.target import CANNOT_TELL, FAILS, HOLDS, ROUNDING

FIRST = 3  # seeds at the first look; two have almost no power
PATHS = 40_000
SKEW = 0.15  # deviation of the logarithm of errors: as large as the ladder's steps have it
CLAIM = "all verdicts together are right with 95 %, although they were looked at after each seed"


class Decision(NamedTuple):
    """A verdict, the seeds that it took, and whether more of them may still change it."""

    verdict: str
    n: int
    open: bool


def decide(values: Sequence[float], bound: float, most: int, arms: int = 1) -> Decision:
    """Whether the mean of an arm is above a bound (HOLDS) or below (FAILS): looked at after each
    seed from the third on, until there are `most`, a number that must not depend on the values.

    The values, in the order of their seeds, are accuracies and the bound is a target; or, of two
    arms that share seeds, differences and minus the margin. The first verdict stands, whatever is
    added. For an arm of which either verdict is false, the probability to get it at any look is
    5 % / `arms`: of so many arms judged alike, all verdicts are right with 95 %. The looks are
    those of Pocock (1977), Group sequential methods in the design and analysis of clinical trials,
    Biometrika 64(2): each has the same nominal level. Jennison and Turnbull (2000), Group
    Sequential Methods, chapter 4, for the t test."""
    if len(values) >= FIRST <= most:
        level = nominal_level((1 - CONFIDENCE) / arms, most)
        p = p_values(np.asarray(values[:most]) - bound)
        certain = np.flatnonzero((p < level) | (p > 1 - level))
        if len(certain):
            first = certain[0]
            verdict = HOLDS if p[first] < level else FAILS
            return Decision(verdict, int(first) + FIRST, open=False)
    return Decision(CANNOT_TELL, min(len(values), most), open=len(values) < most)


def p_values(above: np.ndarray) -> np.ndarray:
    """That the mean is above 0, by a one-sided t test at each look: [..., n] -> [..., n - 2]; NaN
    where the values so far are equal within rounding: they say nothing about the noise."""
    n = np.arange(1, above.shape[-1] + 1)
    mean = above.cumsum(axis=-1) / n
    squares = np.maximum((above**2).cumsum(axis=-1) - n * mean**2, 0)
    squares[squares < n * ROUNDING**2] = np.nan
    n, mean, squares = n[FIRST - 1 :], mean[..., FIRST - 1 :], squares[..., FIRST - 1 :]
    return stats.t.sf(mean * np.sqrt(n * (n - 1) / squares), n - 1)


def needed(most: int, arms: int = 1) -> float:
    """How far above a bound the mean of `most` seeds must be, in deviations of these, for `decide`
    to say that it holds at the last look; it may have said so before."""
    level = nominal_level((1 - CONFIDENCE) / arms, most)
    return float(stats.t.isf(level, most - 1)) / most**0.5


@cache
def nominal_level(alpha: float, most: int) -> float:
    """The one-sided level of each look with which all of them together err in `alpha` of cases.

    The t statistics of the looks depend on neither mean nor deviation, so that their least
    p value can be drawn: the level is its quantile, right to some 3 % of itself for up to three
    arms. Errors are drawn log-normal, to be on the safe side: seeds may be skewed, as bad ones may
    lie further off than good ones, and a level for normal accuracies would then err too often.
    """
    errors = np.exp(SKEW * np.random.default_rng(0).standard_normal((most, PATHS)).T)
    p = p_values(np.exp(SKEW**2 / 2) - errors)
    return float(np.quantile(p.min(axis=1), alpha))
