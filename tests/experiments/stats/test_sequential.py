"""The sequential verdict: how often it errs over all looks and arms, and that it ends soon."""

import numpy as np
import pytest
from simulated import simulate_sequential

from experiments.stats.sequential import FIRST, decide, nominal_level
from experiments.stats.verdict import CANNOT_TELL, FAILS, HOLDS

TARGET, DEVIATION, MOST = 0.994, 0.0005, 20


def accuracies(seed: int, above: float) -> np.ndarray:
    """As 10,000 images give them: multiples of 0.01 points."""
    return np.random.default_rng(seed).normal(TARGET + above, DEVIATION, MOST).round(4)


def test_all_looks_and_arms_together_err_in_five_percent():
    """Where it is hardest: at the target, and at the margin; docs/statistics.md has more of it."""
    found = simulate_sequential(20, trials=400)
    for key in ("at_target", "at_target_below", "at_margin"):
        assert 0.02 <= found[key] <= 0.09, key
    assert found["arms"] <= 0.07
    assert found["each_look"] > 0.15  # else this shows nothing


def test_an_arm_far_from_its_target_is_decided_early():
    for above, verdict in ((0.002, HOLDS), (-0.002, FAILS)):
        found = [decide(accuracies(seed, above), TARGET, MOST, arms=3) for seed in range(50)]
        assert {one.verdict for one in found} == {verdict}
        assert np.mean([one.n for one in found]) < 5
        assert not any(one.open for one in found)


def test_the_first_verdict_stands():
    values = [0.9960, 0.9961, 0.9962]
    first = decide(values, TARGET, MOST)
    assert (first.verdict, first.n) == (HOLDS, 3)
    assert decide([*values, 0.9, 0.8, 0.7], TARGET, MOST) == first


def test_too_few_or_equal_values_tell_nothing():
    assert decide([0.99, 0.98], 0.5, most=2) == (CANNOT_TELL, 2, False)
    for values in ([], [0.99], [0.99, 0.991], [0.99] * 5):
        found = decide(values, 0.5, MOST)
        assert found == (CANNOT_TELL, len(values), True)
    assert not decide([0.99] * MOST, 0.5, MOST).open


@pytest.mark.parametrize("most", [FIRST, 10, 20])
def test_a_look_is_stricter_the_more_there_are(most):
    assert nominal_level(0.05, most) <= 0.051
    assert nominal_level(0.05, most + 1) < nominal_level(0.05, most)
    assert nominal_level(0.05 / 3, most) < nominal_level(0.05, most)
