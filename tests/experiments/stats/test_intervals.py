"""Intervals of a mean, compared with statsmodels and by simulation."""

import math

import numpy as np
import pytest
from statsmodels.stats.weightstats import DescrStatsW

from experiments.stats.intervals import interval

TRIALS = 1000


def test_an_interval_is_that_of_statsmodels():
    values = np.random.default_rng(1).normal(0.993, 0.0005, 7)
    assert interval(values)[1:3] == pytest.approx(DescrStatsW(values).tconfint_mean(), abs=1e-12)


@pytest.mark.parametrize("n", [2, 3, 20])
def test_an_interval_covers_the_truth_as_often_as_it_says(n):
    samples = np.random.default_rng(1).normal(0.993, 0.0005, (TRIALS, n))
    covered = np.mean([low <= 0.993 <= high for _, low, high, _ in map(interval, samples)])
    assert 0.93 <= covered <= 0.97


@pytest.mark.parametrize("values", [[0.99], [0.99, 0.99], [0.9934, 0.99339998]])
def test_values_that_are_equal_or_single_have_no_interval(values):
    assert interval(values)[1:3] == (-math.inf, math.inf)
