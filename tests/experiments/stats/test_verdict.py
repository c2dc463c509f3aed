"""Differences, verdicts and seed counts, compared with other libraries and by simulation."""

import numpy as np
import pytest
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from experiments.stats.verdict import difference, more_seeds, seeds_needed

TRIALS = 1000


def arms(rng: np.random.Generator, n: int, shift: float = 0.0) -> list[dict[int, float]]:
    """Two arms of accuracies with the spread that seeds have, and the second higher by `shift`."""
    values = rng.normal([[0.993], [0.993 + shift]], 0.0005, (2, n))
    return [dict(enumerate(arm.tolist())) for arm in values]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def test_arms_with_other_seeds_are_compared_as_welch_does(rng):
    before, after = arms(rng, 6)
    del after[0], after[1]
    found = difference(before, after)
    samples = [DescrStatsW(list(arm.values())) for arm in (after, before)]
    ends = CompareMeans(*samples).tconfint_diff(usevar="unequal")
    assert not found.paired
    assert (found.low, found.high) == pytest.approx(ends, abs=1e-12)


def test_arms_with_the_same_seeds_are_paired(rng):
    before, after = arms(rng, 6)
    after = {seed: before[seed] + after[seed] / 10 for seed in reversed(after)}
    found = difference(before, after)
    ends = DescrStatsW([after[seed] - before[seed] for seed in before]).tconfint_mean()
    assert found.paired
    assert (found.low, found.high) == pytest.approx(ends, abs=1e-12)


@pytest.mark.parametrize("offset", [0, 100], ids=["paired", "Welch"])
@pytest.mark.parametrize("n", [2, 5])
def test_equal_arms_rarely_get_a_verdict(rng, n, offset):
    verdicts = []
    for _ in range(TRIALS):
        before, after = arms(rng, n)
        after = {seed + offset: value for seed, value in after.items()}
        verdicts.append(difference(before, after).verdict)
    assert verdicts.count("better") <= 0.05 * TRIALS
    assert verdicts.count("worse") <= 0.05 * TRIALS
    assert verdicts.count("cannot tell") < TRIALS, "it must be able to err"


@pytest.mark.parametrize(("shift", "verdict"), [(0.003, "better"), (-0.003, "worse")])
def test_a_large_difference_gets_a_verdict(rng, shift, verdict):
    found = difference(*arms(rng, 8, shift))
    assert (found.verdict, more_seeds(found)) == (verdict, 0)
    assert found.mean == pytest.approx(shift, abs=0.001)


@pytest.mark.parametrize(
    "values", [([0.99], [0.98]), ([0.99, 0.99], [0.98, 0.98]), ([0.99, 0.991], [0.98, 0.98100002])]
)
def test_no_verdict_if_the_noise_is_unknown(values):
    before, after = (dict(enumerate(arm)) for arm in values)
    found = difference(before, after)
    assert (found.verdict, more_seeds(found)) == ("cannot tell", None)


@pytest.mark.parametrize(
    ("effect", "paired", "seeds"),
    [
        *((0.2, False, 394), (0.5, False, 64), (0.8, False, 26), (0.1, False, None)),
        *((0.2, True, 199), (0.5, True, 34), (0.8, True, 15), (50, True, 2), (0, True, None)),
    ],
)
def test_seeds_needed_are_those_of_published_tables(effect, paired, seeds):
    """Cohen's small, medium and large effects; figures as G*Power 3.1 has them."""
    assert seeds_needed(effect, paired) == seeds


def test_so_many_seeds_see_the_effect(rng):
    n = seeds_needed(1.0, paired=False)
    seen = 0
    for _ in range(500):
        before, after = arms(rng, n, shift=0.0005)
        seen += difference(before, {s + n: v for s, v in after.items()}).verdict == "better"
    assert 0.75 <= seen / 500 <= 0.86


def test_more_seeds_are_those_beyond_the_seeds_of_the_arms():
    before, after = {0: 0.99, 1: 0.991, 2: 0.992}, {0: 0.9905, 1: 0.9912, 2: 0.9933}
    found = difference(before, after)
    effect = found.mean / np.std([0.0005, 0.0002, 0.0013], ddof=1)
    assert found.verdict == "cannot tell"
    assert more_seeds(found) == seeds_needed(effect, paired=True) - 3
