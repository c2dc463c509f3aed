"""What a search prints at its end."""

import pytest
from optuna.trial import create_trial

from experiments.study.race import FINAL, FULL, SHORT, Network, Race, Rules, Run
from experiments.study.results import report

SIZES = (1_962, 2_994, 4_912)
MEANS = (0.9921, 0.9937, 0.9944)
STEPS = {n: f"found/blocks-{12 + n}" for n in range(len(SIZES))}


def race(target: float | None) -> Race:
    """Three finalists: the first misses 99.4 %, the last reaches it, the one between may do so."""
    networks = [
        Network(size, (1.0,), create_trial(value=0.5, user_attrs={"rejected": 40}))
        for size in SIZES
    ]
    results = {Run(n, stage, 0): mean - 0.01 for n, mean in enumerate(MEANS) for stage in (0, 1)}
    for n, mean in enumerate(MEANS):
        for seed in range(6):
            spread = 0.0005 if n == 1 else 0.0001
            results[Run(n, FINAL, seed)] = mean + spread * (seed % 2)
    return Race(Rules(target, 3, 3, 3, 9, 0.0005), networks, results, [0, 1, 2])


@pytest.mark.parametrize(("name", "target"), [("search", 0.994), ("search-best", None)])
def test_the_screen_is_as_kept(screen, name, target):
    assert (SHORT, FULL) == (0, 1)
    screen(name, report(race(target), STEPS))
