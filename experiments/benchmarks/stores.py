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
    """A store with `arms` parent runs of `seeds` runs each, with random accuracies."""
    cfg, draw = cfg.copy(), random.Random(0)
    store, costs = store_in(cfg, folder), design(cfg)[1].figures()
    for arm in range(arms):
        parent = _add(store, cfg, f"arm {arm}", {CONFIG_HASH: f"{arm}"}, costs | {"seeds": seeds})
        for cfg.seed in range(seeds):
            tags = {PARENT: parent, CONFIG_HASH: f"{arm}/{cfg.seed}"}
            accuracy = {"val/acc": draw.gauss(0.993, 0.0005)}
            _add(store, cfg, f"arm {arm}, seed {cfg.seed}", tags, costs | accuracy)
    return store


def _add(
    store: Store, cfg: DictConfig, name: str, tags: dict[str, str], metrics: dict[str, float]
) -> str:
    """Add a finished run with the parameters of a configuration; its id."""
    now = int(time.time() * 1000)
    run = store.client.create_run(store.experiment_id, now, tags, name).info.run_id
    store.client.log_batch(
        run,
        [Metric(key, value, now, 0) for key, value in metrics.items()],
        [Param(key, value) for key, value in parameters(cfg).items()],
    )
    store.client.set_terminated(run)
    return run
