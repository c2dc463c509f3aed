"""The smallest network above a target, where size and accuracy trade off."""

import random
from types import SimpleNamespace

import optuna
import pytest
from conftest import configure

from experiments.cli.config import build
from experiments.study.finals import Finalist, best_trials, rank, score
from experiments.study.trial import Reports
from experiments.training.fit import Stopped

TARGET, EPOCHS, SMALLEST = 0.985, 5, 6
CLAIMS = SimpleNamespace(check=lambda: None)


def accuracy(width: int, epoch: int, chance: random.Random) -> float:
    """The wider the better, by 0.2 points; width SMALLEST is the first above the target."""
    return (
        TARGET
        + 0.001
        + 0.002 * (width - SMALLEST)
        - 0.02 * (EPOCHS - epoch) * (1 + 1 / width)
        + chance.gauss(0, 0.0002)
    )


def train(trial: optuna.Trial, chance: random.Random) -> None:
    """A trial as the worker trains it, with made accuracies."""
    width = trial.suggest_int("width", 1, 20)
    trial.set_user_attr("parameters", 100 * width)
    reports = Reports(trial, CLAIMS, TARGET)
    module = None
    try:
        for epoch in range(EPOCHS):
            value = accuracy(width, epoch + 1, chance)
            metrics = {"val/acc": value}
            trainer = SimpleNamespace(
                current_epoch=epoch, max_epochs=EPOCHS, callback_metrics=metrics
            )
            reports.on_train_epoch_end(trainer, module)
    except Stopped:
        trial.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    else:
        trial.study.tell(trial, score(value, 100 * width, TARGET))


def winner(seed: int) -> int:
    cfg, chance = configure("search"), random.Random(seed)
    study = optuna.create_study(
        direction="maximize",
        sampler=build(cfg, "sampler", seed=seed),
        pruner=build(cfg, "pruner"),
    )
    for _ in range(40):
        train(study.ask(), chance)
    finalists = [
        Finalist(trial, "", [accuracy(trial.params["width"], EPOCHS, chance) for _ in range(5)], 0)
        for trial in best_trials(study, 3)
    ]
    return rank(finalists, TARGET)[0].trial.params["width"]


@pytest.mark.slow
def test_the_known_smallest_network_wins():
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    wins = sum(winner(seed) == SMALLEST for seed in range(20))
    assert wins >= 18


def finalist(parameters: int, *accuracies: float, diverged: int = 0) -> Finalist:
    trial = optuna.trial.create_trial(value=1.0, user_attrs={"parameters": parameters})
    return Finalist(trial, str(parameters), list(accuracies), diverged)


def test_a_verdict_counts_all_seeds():
    large = finalist(900, 0.995, 0.9952, 0.9951)
    holds = finalist(500, 0.987, 0.9871, 0.9872)
    unsure = finalist(300, 0.97, 0.9999, 0.9999)
    diverged = finalist(100, 0.99, 0.99, diverged=1)
    steps = [one.step for one in rank([large, unsure, diverged, holds], TARGET)]
    assert steps[:2] == ["500", "900"]
    assert rank([holds, large], None)[0] is large
