"""Intervals, differences and seed counts, against other libraries and by simulation."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestIndPower, TTestPower
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from experiments.stats.intervals import interval
from experiments.stats.verdict import difference, seeds_needed

TRIALS = 2000


def arms(rng: np.random.Generator, n: int, shift: float = 0.0) -> list[dict[int, float]]:
    """Two arms of accuracies with the spread that seeds have, and the second higher by `shift`."""
    values = rng.normal([[0.993], [0.993 + shift]], 0.0005, (2, n))
    return [dict(enumerate(arm.tolist())) for arm in values]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def test_an_interval_is_that_of_statsmodels(rng):
    values = rng.normal(0.993, 0.0005, 7)
    assert interval(values)[1:3] == pytest.approx(DescrStatsW(values).tconfint_mean(), abs=1e-12)


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_an_interval_covers_the_truth_as_often_as_it_says(rng, n):
    intervals = [interval(values) for values in rng.normal(0.993, 0.0005, (TRIALS, n))]
    covered = np.mean([low <= 0.993 <= high for _, low, high, _ in intervals])
    assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize("values", [[0.99], [0.99, 0.99], [0.9934, 0.99339998]])
def test_values_that_tell_nothing_of_the_noise_have_no_interval(values):
    assert interval(values)[1:3] == (-math.inf, math.inf)


def test_unmatched_seeds_are_held_against_each_other_as_welch_does(rng):
    before, after = arms(rng, 6)
    del after[0], after[1]
    found = difference(before, after)
    samples = [DescrStatsW(list(arm.values())) for arm in (after, before)]
    ends = CompareMeans(*samples).tconfint_diff(usevar="unequal")
    assert not found.paired
    assert (found.low, found.high) == pytest.approx(ends, abs=1e-12)


def test_the_same_seeds_are_paired(rng):
    before, after = arms(rng, 6)
    after = {seed: before[seed] + after[seed] / 10 for seed in reversed(after)}
    found = difference(before, after)
    ends = DescrStatsW([after[seed] - before[seed] for seed in before]).tconfint_mean()
    assert found.paired
    assert (found.low, found.high) == pytest.approx(ends, abs=1e-12)


@pytest.mark.parametrize("offset", [0, 100], ids=["paired", "Welch"])
@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_equal_arms_are_seldom_told_apart(rng, n, offset):
    verdicts = []
    for _ in range(TRIALS):
        before, after = arms(rng, n)
        after = {seed + offset: value for seed, value in after.items()}
        verdicts.append(difference(before, after).verdict)
    assert verdicts.count("better") <= 0.05 * TRIALS
    assert verdicts.count("worse") <= 0.05 * TRIALS
    assert verdicts.count("cannot tell") < TRIALS, "it must be able to err"


@pytest.mark.parametrize(("shift", "verdict"), [(0.003, "better"), (-0.003, "worse")])
def test_what_is_plain_is_told(rng, shift, verdict):
    found = difference(*arms(rng, 8, shift))
    assert (found.verdict, found.more_seeds) == (verdict, 0)
    assert found.mean == pytest.approx(shift, abs=0.001)


@pytest.mark.parametrize(
    "values", [([0.99], [0.98]), ([0.99, 0.99], [0.98, 0.98]), ([0.99, 0.991], [0.98, 0.98100002])]
)
def test_nothing_is_claimed_where_nothing_is_known_of_the_noise(values):
    before, after = (dict(enumerate(arm)) for arm in values)
    found = difference(before, after)
    assert (found.verdict, found.more_seeds) == ("cannot tell", None)


@pytest.mark.parametrize("effect", [0.1, 0.3, 1.0, 2.0])
def test_seeds_needed_are_those_of_statsmodels(effect):
    paired = TTestPower().solve_power(effect, alpha=0.05, power=0.8)
    assert seeds_needed(effect, paired=True) == math.ceil(paired)
    independent = math.ceil(TTestIndPower().solve_power(effect, alpha=0.05, power=0.8))
    expected = independent if independent <= 1000 else None
    assert seeds_needed(effect, paired=False) == expected


def test_so_many_seeds_do_tell(rng):
    n = seeds_needed(1.0, paired=False)
    told = 0
    for _ in range(500):
        before, after = arms(rng, n, shift=0.0005)
        told += difference(before, {s + n: v for s, v in after.items()}).verdict == "better"
    assert 0.75 <= told / 500 <= 0.86


def test_more_seeds_are_those_beyond_the_ones_there_are(rng):
    before, after = {0: 0.99, 1: 0.991, 2: 0.992}, {0: 0.9905, 1: 0.9912, 2: 0.9933}
    found = difference(before, after)
    effect = found.mean / np.std([0.0005, 0.0002, 0.0013], ddof=1)
    assert found.verdict == "cannot tell"
    assert found.more_seeds == seeds_needed(effect, paired=True) - 3
    assert stats.ttest_rel(list(after.values()), list(before.values())).pvalue > 0.05
