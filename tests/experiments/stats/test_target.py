"""Whether an accuracy reaches its target: one rule, one tolerance."""

import math

import numpy as np
import pytest

from experiments.cli.text import against, on_target
from experiments.stats.intervals import Interval, judge
from experiments.stats.target import reaches


def test_an_accuracy_kept_with_32_bits_reaches_the_target_that_it_equals():
    stored = float(np.float32(0.993))
    assert stored < 0.993
    assert reaches(stored, 0.993)
    assert not reaches(0.9929, 0.993)  # one image in 10,000 less
    assert against(stored, 0.993) == "reaches 99.30 % by 0.00"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.993, 0.995, "reaches 99.30 %"),
        (0.990, 0.9929, "misses 99.30 %"),
        (0.990, 0.993, "cannot tell whether it reaches 99.30 %"),
        (-math.inf, math.inf, "cannot tell whether it reaches 99.30 %"),
    ],
)
def test_a_mean_is_judged_by_both_ends_of_its_interval(low, high, verdict):
    found = judge(Interval((low + high) / 2, low, high, 3), 0.993)
    assert on_target(found, "99.30 %") == verdict
