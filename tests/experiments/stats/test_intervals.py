"""Intervals of a mean, compared with statsmodels and by simulation."""

import math

import numpy as np
import pytest
from statsmodels.stats.weightstats import DescrStatsW

from experiments.stats.intervals import interval, over_images

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


def test_an_interval_over_seeds_and_images_has_the_variance_of_an_anova():
    """By the mean squares of a two-way table, computed step by step."""
    wrong = np.random.default_rng(1).random((4, 500)) < 0.9 * (np.arange(500) % 20 == 0)
    table, mean = wrong.astype(float), wrong.mean()
    seed, image = table.mean(1, keepdims=True), table.mean(0, keepdims=True)
    squares = [500 * ((seed - mean) ** 2).sum() / 3, 4 * ((image - mean) ** 2).sum() / 499]
    squares.append(((table - seed - image + mean) ** 2).sum() / (3 * 499))
    variance = (squares[0] + squares[1] - squares[2]) / wrong.size
    found = over_images(wrong)
    half = np.diff([math.log(p / (1 - p)) for p in found[1:3]])[0] / 2
    assert found.mean == pytest.approx(1 - mean)
    assert half * mean * (1 - mean) / math.sqrt(variance) == pytest.approx(1.98, abs=0.03)  # t


@pytest.mark.parametrize("wrong", [np.eye(1, 50), np.zeros((3, 50)), np.ones((3, 1))])
def test_one_seed_or_no_mistake_says_nothing_of_new_images(wrong):
    assert over_images(wrong.astype(bool))[1:3] == (-math.inf, math.inf)
