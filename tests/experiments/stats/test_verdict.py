"""Differences, verdicts and seed counts, compared with other libraries and by simulation."""

import math

import numpy as np
import pytest
from simulated import simulate
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from experiments.stats.verdict import difference, holm, more_seeds, seeds_needed

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
    assert (found.verdict, more_seeds(found, 0.002)) == (verdict, 0)
    assert found.no_worse(0.0005) == {"better": "holds", "worse": "fails"}[verdict]
    assert found.mean == pytest.approx(shift, abs=0.001)


@pytest.mark.parametrize(
    "values", [([0.99], [0.98]), ([0.99, 0.99], [0.98, 0.98]), ([0.99, 0.991], [0.98, 0.98100002])]
)
def test_no_verdict_if_the_noise_is_unknown(values):
    before, after = (dict(enumerate(arm)) for arm in values)
    found = difference(before, after)
    assert (found.verdict, more_seeds(found, 0.001)) == ("cannot tell", None)
    assert found.no_worse(0.5) == "cannot tell"


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


def test_more_seeds_follow_from_the_deviation_and_not_from_the_observed_difference():
    before, after = {0: 0.99, 1: 0.991, 2: 0.992}, {0: 0.9905, 1: 0.9912, 2: 0.9933}
    deviation = np.std([0.0005, 0.0002, 0.0013], ddof=1)
    needed = seeds_needed(0.0005 / deviation, paired=True)
    assert more_seeds(difference(before, after), 0.0005) == needed - 3 > 0
    higher = {seed: value + 0.0003 for seed, value in after.items()}
    assert more_seeds(difference(before, higher), 0.0005) == needed - 3


def test_runs_that_agree_to_the_bit_are_no_worse():
    """Whoever trains the same seeds again has the baseline's runs; a single one proves nothing."""
    arm = {0: 0.99, 1: 0.991}
    assert difference(arm, dict(arm)).no_worse(0.0005) == "holds"
    assert difference({0: 0.99}, {0: 0.99}).no_worse(0.0005) == "cannot tell"


def test_no_worse_is_the_one_sided_test_of_statsmodels(rng):
    before, after = arms(rng, 6)
    del after[0]
    found = difference(before, after)
    samples = [DescrStatsW(list(arm.values())) for arm in (after, before)]
    _, p, _ = CompareMeans(*samples).ttest_ind("larger", "unequal", value=found.floor)
    assert p == pytest.approx(0.05)
    assert found.no_worse(-found.floor + 1e-9) == "holds"
    assert found.no_worse(-found.floor - 1e-9) == "cannot tell"
    assert found.no_worse(-found.ceiling - 1e-9) == "fails"


def test_holm_multiplies_the_smallest_by_all_and_leaves_out_the_unknown():
    found = holm([0.01, math.nan, 0.03, 0.02])
    assert found == pytest.approx([0.03, math.nan, 0.04, 0.04], nan_ok=True)
    assert holm([math.nan]) == pytest.approx([math.nan], nan_ok=True)


def test_claims_are_right_as_often_as_they_say():
    """A short form of docs/statistics.md."""
    found = simulate(5, trials=200, images=2000)
    for key in ("interval", "images", "paired", "welch"):
        assert 0.86 <= found[key] <= 1, key
    for key in ("single", "ladder_holm", "at_margin", "at_margin_welch", "advised_false"):
        assert found[key] <= 0.14, key
    assert 0.03 < found["single"] < 0.08, "600 comparisons"
    assert found["ladder"] > 0.3, "twelve comparisons without a correction"
    assert found["seeds_only"] < 0.9, "seeds alone say too much about new images"
    assert found["advised_true"] > 0.7
