"""What the runs of a search say of each network: a regression of errors on sizes."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from experiments.stats.target import ROUNDING

SLOPE = -0.4  # of the logarithm of the error over that of the parameters, before any run
NOISE, FREEDOM = 0.1, 4  # a first guess of the deviation between seeds, as if from so many runs
LEAST_ERROR = 1e-5
# how far effects go before any run, in deviations between seeds
LEVEL, SLOPES, FEATURE, NETWORK, SEED = 100.0, 5.0, 1.0, 1.0, 0.5


class Stage(NamedTuple):
    """How runs of a kind may differ from those that are forecast, in deviations between seeds:
    all of them by `level`, the more the larger the network by `slope`, one network by `network`.
    """

    level: float
    slope: float
    network: float


class Run(NamedTuple):
    """By numbers from 0."""

    network: int
    stage: int
    seed: int


def draw(
    parameters: Sequence[int],
    features: np.ndarray,
    stages: Sequence[Stage],
    results: Mapping[Run, float],
    below: float = 0,
    spread: float = 0,
    count: int = 1000,
) -> np.ndarray:
    """Draws of the accuracy that each network reaches in the last stage, given those of runs;
    lowered by `below` and with normal noise of deviation `spread` added, both in deviations between
    seeds.

    The logarithm of an error is a level, a slope times the logarithm of the parameters, an
    effect for each feature (of [networks, features], about -1 to 1) and for each network, and for
    each stage, network in a stage and seed in a stage; the rest is noise. All effects are normal;
    the deviation of the noise, in which they are measured, is unknown (the conjugate prior: Gelman
    and others, Bayesian Data Analysis, 2013, chapter 14). So runs with one seed compare networks
    in pairs, short runs count as much as they have agreed with full ones, and nothing is fitted
    by hand.

    Returns:
        [count, networks], 0 to 1; the same for the same arguments.
    """
    size = np.log(np.asarray(parameters, dtype=float))
    centre = size.mean()
    slope = SLOPE * (size - centre)
    known, stage, seed = np.array([*results], dtype=int).reshape(-1, 3).T
    network = np.append(known, np.arange(len(size)))  # the runs, then what is forecast
    where = np.append(stage, np.full(len(size), len(stages) - 1))
    x, f = size[network] - centre, features[network] * FEATURE
    same = network[:, None] == network
    prior = LEVEL**2 + SLOPES**2 * np.outer(x, x) + f @ f.T + NETWORK**2 * same
    for number, each in enumerate(stages[:-1]):
        effects = each.level**2 + each.slope**2 * np.outer(x, x) + each.network**2 * same
        prior += np.outer(where == number, where == number) * effects
    n, mean, covariance, squares = len(known), np.full(len(size), -1.0), prior, 0.0
    if n:
        paired = (stage[:, None] == stage) & (seed[:, None] == seed)
        between = prior[:n, :n] + SEED**2 * paired + np.eye(n)
        errors = np.maximum(1 - np.array([*results.values()]), LEAST_ERROR)
        rest = np.log(errors) - slope[known]
        level = rest.mean()
        weights = np.linalg.solve(between, np.column_stack([rest - level, prior[:n, n:]]))
        mean = prior[n:, :n] @ weights[:, 0] + level
        covariance = prior[n:, n:] - prior[n:, :n] @ weights[:, 1:]
        squares = (rest - level) @ weights[:, 0]
    rng = np.random.default_rng(0)
    values, vectors = np.linalg.eigh(covariance)
    normal = rng.standard_normal((count, len(size))) * np.sqrt(np.maximum(values, 0))
    noise = np.sqrt((FREEDOM * NOISE**2 + squares) / rng.chisquare(FREEDOM + n, (count, 1)))
    effects = normal @ vectors.T + below + spread * rng.standard_normal((count, len(size)))
    return 1 - np.exp(np.minimum(mean + slope + noise * effects, 0))


def answers(accuracies: np.ndarray, parameters: np.ndarray, target: float | None) -> np.ndarray:
    """How often each network is the answer by such draws: the smallest that reaches a target, or
    the best. Where two are equal, such as almost 0, the one nearer to it has slightly more."""
    if target is None:
        best, near = accuracies.argmax(axis=1), accuracies.mean(axis=0)
    else:
        reach = accuracies >= target - ROUNDING
        best = np.where(reach, parameters, np.inf).argmin(axis=1)[reach.any(axis=1)]
        near = reach.mean(axis=0)
    return np.bincount(best, minlength=len(parameters)) / len(accuracies) + 1e-6 * near
