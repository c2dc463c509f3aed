"""Runs that were never trained, made by the project's own ways into a store: evidence to judge."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import optuna
from conftest import composing
from hydra import compose
from omegaconf import DictConfig
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial

from experiments.budget.cost import cost_of
from experiments.study.race import SHORT, Network, Race, Rules, Run
from experiments.tracking.arms import Arm
from experiments.tracking.artifacts import MISTAKES
from experiments.tracking.identity import CONFIG_HASH, config_hash, name_experiment, run_name
from experiments.tracking.parent_runs import parent_run, sum_up
from experiments.tracking.run import TrackedRun
from experiments.tracking.store import PARENT, Store

EPOCHS = 3
DIGEST = "1e35582d42a9"  # of MNIST, as a run tags it


def arm(name: str, step: str | None, digest: str, *scores: float, **others) -> Arm:
    """An arm of runs with these accuracies, with seeds from 0."""
    by_seed = {str(seed): score for seed, score in enumerate(scores)}
    facts = dict.fromkeys(("parameters", "mult_adds", "published_best", "published_last", "target"))
    facts |= {"settings": {}, "failed": {}, "device": "cpu", "runs": [], "parent": None} | others
    return Arm(
        name=name, title=name.partition(" (")[0], step=step, scores=by_seed, digest=digest, **facts
    )


@cache
def described(step: str, *overrides: str) -> tuple[DictConfig, dict[str, float]]:
    """The configuration of a step as `train` has it, and what its network costs."""
    with composing():
        cfg = compose("train", overrides=[f"step={step}", *overrides])
        cfg.name = name_experiment(cfg, "train", [f"step={step}", *overrides])
    return cfg, cost_of(cfg).metrics()


def make(
    place: Path,
    step: str,
    accuracies: list[float],
    *overrides: str,
    first_seed: int = 0,
    failed: bool = False,
    keeps: bool = False,
    wrong: Sequence[list[int]] = (),
    device: str = "some processor",
    digest: str = DIGEST,
) -> str:
    """Put runs of a step, one a seed, into `place`/mlflow.db; the id of their parent.

    Args:
        keeps: which images each run got wrong; `wrong`, if it is given, or else made ones. Without
            it, a table of one image, and not of how many.
    """
    cfg, figures = described(step, *overrides)
    cfg = cfg.copy()
    cfg.tracking.uri = f"sqlite:///{place}/mlflow.db"
    cfg.tracking.artifacts, cfg.checkpoints.root = str(place / "artifacts"), str(place / "lock")
    (place / "lock").mkdir(exist_ok=True)
    store = Store(cfg.tracking)
    parent = parent_run(cfg, store, digest, figures)
    for cfg.seed, accuracy in enumerate(accuracies, first_seed):
        tags = {
            CONFIG_HASH: config_hash(cfg),
            PARENT: parent,
            "step": step,
            "mlflow.note.content": cfg.description,
            "device": "cpu",
            "device.name": device,
            "data.digest": digest,
        }
        with TrackedRun(store, run_name(cfg), tags, resume=None) as run:
            run.describe(cfg, figures)
            epochs = min(EPOCHS, cfg.trainer.max_epochs)
            curve = [accuracy - 0.01 * (epochs - epoch) for epoch in range(1, epochs + 1)]
            run.log_history([{"val/acc": value} for value in curve], [run.started] * epochs)
            found = [8]
            if keeps:  # half of them those of every seed
                count = round(10_000 * (1 - accuracy))
                own = range(1000 * (cfg.seed + 1), 1000 * (cfg.seed + 1) + count - count // 2)
                found = wrong[cfg.seed - first_seed] if wrong else [*range(count // 2), *own]
                run.log_metrics({"val/images": 10_000}, time=run.started)
            lines = ["image,true,predicted", *(f"{image},5,6" for image in found)]
            store.client.log_text(run.id, "\n".join(lines), MISTAKES)
            if failed:
                run.fail("Diverged: the training loss became no number")
    if not failed:
        sum_up(cfg, store, parent)
    return parent


def raced() -> tuple[optuna.Study, Race, dict[int, str]]:
    """A whole search of twelve networks on a made surface, with the names of its finalists."""
    scale, activation = FloatDistribution(0.3, 2), CategoricalDistribution(["relu", "gelu"])
    values = {"model.scale": scale, "model.activation": activation}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study, networks, results = optuna.create_study(study_name="small"), [], {}
    for number in range(12):
        factor = 0.4 + 0.12 * number
        params = {"model.scale": factor, "model.activation": activation.choices[number % 2]}
        told = {"value": 0.98 + 0.001 * number, "user_attrs": {"rejected": 3}}
        study.add_trial(create_trial(params=params, distributions=values, **told))
        size = round(900 * factor**2 + 400)
        networks.append(Network(size, (factor - 1.2, float(number % 2)), study.trials[-1]))

    def accuracy(run: Run) -> float:
        noise = np.random.default_rng(run).normal(0, 0.0003)
        size = networks[run.network].parameters
        return 0.994 + 0.0025 * np.log(size / 2000) - 0.01 * (run.stage == SHORT) + noise

    race = Race(Rules(0.994, 12, 16, 3, 9, 0.0005), networks, results)
    while wanted := race.wanted():
        results[wanted[0]] = accuracy(wanted[0])
    return study, race, {n: f"found/small-{n}" for n in race.answer().decisions}
