"""The forecast of accuracies: it follows sizes, pairs by seed, short runs, and its own doubt."""

import numpy as np

from experiments.stats.forecast import Run, Stage, draw


def runs_of(*columns) -> dict[Run, float]:
    return {Run(*run): accuracy for *run, accuracy in zip(*columns, strict=True)}


STAGES = Stage(100, 2, 1), Stage(0, 0, 0)


def surface(seed: int, networks: int = 40) -> tuple[np.ndarray, np.ndarray, np.random.Generator]:
    rng = np.random.default_rng(seed)
    size = rng.uniform(np.log(1000), np.log(8000), networks)
    log = np.log(0.01) - 0.5 * (size - np.log(3000)) + rng.normal(0, 0.05, networks)
    return np.exp(size), log, rng


def test_the_error_follows_the_size():
    size, log, rng = surface(0)
    known = np.arange(8)
    runs = runs_of(known, [1] * 8, [0] * 8, 1 - np.exp(log[:8] + rng.normal(0, 0.05, 8)))
    drawn = np.log(1 - draw(size, np.zeros((40, 0)), STAGES, runs))
    assert np.corrcoef(drawn.mean(axis=0)[8:], log[8:])[0, 1] > 0.95


def test_nine_of_ten_intervals_cover_the_truth():
    covered = []
    for seed in range(20):
        size, log, rng = surface(seed)
        known = np.arange(10)
        runs = runs_of(known, [1] * 10, [0] * 10, 1 - np.exp(log[:10] + rng.normal(0, 0.07, 10)))
        low, high = np.quantile(draw(size, np.zeros((40, 0)), STAGES, runs), (0.05, 0.95), axis=0)
        covered += list((low < 1 - np.exp(log)) & (1 - np.exp(log) < high))
    assert 0.8 < np.mean(covered) < 1


def test_runs_with_one_seed_compare_networks_in_pairs():
    """The first network is better with each of two seeds, which are far apart themselves."""

    def better(seeds: list[int]) -> float:
        runs = runs_of([0, 0, 1, 1], [1] * 4, seeds, [0.991, 0.988, 0.990, 0.987])
        drawn = draw([3000, 3000], np.zeros((2, 0)), STAGES, runs)
        return np.mean(drawn[:, 0] > drawn[:, 1])

    assert better([0, 1, 0, 1]) > better([0, 1, 2, 3]) > 0.5


def test_a_short_run_tells_less_than_a_full_one():
    def spread(stage: int) -> float:
        few = np.arange(6)
        first = 0.99 - 0.0005 * few
        runs = runs_of(
            [*few, *few, 6],
            [1] * 6 + [0] * 6 + [stage],
            [0] * 13,
            [*first, *(first - 0.02), 0.97 + 0.02 * stage],
        )
        return np.std(draw([3000] * 7, np.zeros((7, 0)), STAGES, runs)[:, 6])

    assert spread(1) < spread(0)


def test_nothing_known_is_no_error():
    drawn = draw([1000, 2000], np.zeros((2, 0)), STAGES, runs_of([], [], [], []), count=10)
    assert drawn.shape == (10, 2)
    assert (drawn <= 1).all()
