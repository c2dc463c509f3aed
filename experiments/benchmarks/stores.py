"""Stores in temporary folders: for runs that are timed, and one with many runs to read."""

import random
import time
from pathlib import Path

from mlflow.entities import Metric, Param
from omegaconf import DictConfig

from experiments.budget.network import design
from experiments.tracking.parent_runs import PARENT
from experiments.tracking.run import parameters
from experiments.tracking.store import CONFIG_HASH, Store


def store_in(cfg: DictConfig, folder: Path) -> Store:
    """The store of a folder; it is created if it does not exist."""
    tracking = cfg.tracking.copy()
    tracking.uri, tracking.artifacts = f"sqlite:///{folder}/mlflow.db", f"{folder}/artifacts"
    return Store(tracking)


def crowded_store(cfg: DictConfig, folder: Path, arms: int, seeds: int) -> Store:
    """A store with `arms` parent runs of `seeds` runs each, with random accuracies.

    It takes about 25 ms a run.
    """
    store, draw = store_in(cfg, folder), random.Random(0)
    costs, params = design(cfg)[1].figures(), parameters(cfg)
    for arm in range(arms):
        name, tags = f"arm {arm}", {CONFIG_HASH: str(arm)}
        parent = _add(store, name, tags, params, costs | {"seeds": seeds})
        for seed in range(seeds):
            tags = {PARENT: parent, CONFIG_HASH: f"{arm}/{seed}"}
            accuracy = {"val/acc": draw.gauss(0.993, 0.0005)}
            own = params | {"seed": str(seed)}
            _add(store, f"{name}, seed {seed}", tags, own, costs | accuracy)
    return store


def _add(
    store: Store, name: str, tags: dict[str, str], params: dict[str, str], metrics: dict[str, float]
) -> str:
    """Add a finished run; its id."""
    now = int(time.time() * 1000)
    run = store.client.create_run(store.experiment_id, now, tags, name).info.run_id
    store.client.log_batch(
        run,
        [Metric(key, value, now, 0) for key, value in metrics.items()],
        [Param(key, value) for key, value in params.items()],
    )
    store.client.set_terminated(run)
    return run
