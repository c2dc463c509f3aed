"""Means over seeds, or over seeds and images, with their confidence intervals."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import special, stats

from experiments.stats.target import CANNOT_TELL, FAILS, HOLDS, ROUNDING, reaches

CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A mean of n values with the ends of its confidence interval, infinite where unknown."""

    mean: float
    low: float
    high: float
    n: int


def interval(values: Sequence[float]) -> Interval:
    """The mean with its 95 % t interval, unknown for a single value and for values that are equal
    within rounding: these say nothing about the noise."""
    n, mean = len(values), float(np.mean(values))
    if n < 2 or np.std(values) < ROUNDING:
        return Interval(mean, -math.inf, math.inf, n)
    low, high = stats.t.interval(CONFIDENCE, n - 1, mean, stats.sem(values))
    return Interval(mean, float(low), float(high), n)


def over_images(wrong: np.ndarray) -> Interval:
    """The accuracy to expect of new seeds on new images, with its 95 % interval, from whether each
    seed is wrong about each image: bool of (seeds, images). The interval is unknown for one seed
    or one image, or if nothing or all is wrong.

    Seeds and images are two crossed random effects. From the mean squares of a two-way table
    with one value a cell, the variance of the mean is the part between seeds plus the part
    between images minus their interaction, which both contain: Owen (2007), The pigeonhole
    bootstrap, Annals of Applied Statistics 1(2). Degrees of freedom: Satterthwaite (1946). The
    interval is taken on the logit scale, as accuracies near 1 are skewed.
    """
    seeds, images = wrong.shape
    by_seed, by_image = wrong.mean(axis=1), wrong.mean(axis=0)
    mean = float(by_seed.mean())
    if min(seeds, images) < 2 or mean in (0, 1):
        return Interval(1 - mean, -math.inf, math.inf, seeds)
    freedom = np.array([seeds - 1, images - 1, (seeds - 1) * (images - 1)])
    squares = np.array([images * by_seed.var() * seeds, seeds * by_image.var() * images])
    rest = wrong.size * mean * (1 - mean) - squares.sum()  # a truth value is its own square
    parts = np.append(squares, max(rest, 0)) / freedom / wrong.size
    variance = max(parts[0] + parts[1] - parts[2], *parts[:2])  # an estimate may be too small
    degrees = variance**2 / np.sum(parts**2 / freedom)
    error = math.sqrt(variance) / (mean * (1 - mean))  # of the logit, by the delta method
    low, high = special.expit(stats.t.interval(CONFIDENCE, degrees, special.logit(1 - mean), error))
    return Interval(1 - mean, float(low), float(high), seeds)


def judge(found: Interval, target: float) -> str:
    """Whether a mean is known to reach its target, by both ends of its interval."""
    if reaches(found.low, target):
        return HOLDS
    return CANNOT_TELL if reaches(found.high, target) else FAILS
