"""The sequential verdict: how often it errs over all looks and arms, and that it ends soon."""

import numpy as np
import pytest

from experiments.stats.sequential import FIRST, decide, nominal_level
from experiments.stats.verdict import CANNOT_TELL, FAILS, HOLDS

TARGET, DEVIATION, MOST = 0.994, 0.0005, 20


def accuracies(seed: int, above: float) -> np.ndarray:
    """As 10,000 images give them: multiples of 0.01 points."""
    return np.random.default_rng(seed).normal(TARGET + above, DEVIATION, MOST).round(4)


def test_all_looks_together_err_in_five_percent():
    """At the target itself, where it is hardest: either verdict in 5 % of cases, not more."""
    verdicts = [decide(accuracies(seed, 0), TARGET, MOST).verdict for seed in range(300)]
    for verdict in (HOLDS, FAILS):
        assert 0.02 <= verdicts.count(verdict) / len(verdicts) <= 0.08


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
