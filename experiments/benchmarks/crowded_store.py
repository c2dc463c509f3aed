"""A store with many runs, made of one by copying its rows: for timing what reads them."""

import random
import sqlite3
from pathlib import Path

from omegaconf import DictConfig

from experiments.budget.network import design
from experiments.tracking.parent_runs import PARENT, parent_run
from experiments.tracking.run import TrackedRun
from experiments.tracking.store import CONFIG_HASH, Store

TABLES = ("runs", "params", "tags", "latest_metrics")  # what a run consists of, but its history


def crowded(cfg: DictConfig, folder: Path, arms: int, seeds: int) -> str:
    """Make a store with so many arms of so many seeds each, of made accuracies; its URI."""
    tracking = cfg.tracking.copy()
    tracking.uri, tracking.artifacts = f"sqlite:///{folder}/mlflow.db", str(folder)
    cfg = cfg.copy()
    cfg.checkpoints.root = str(folder)
    store, figures = Store(tracking), design(cfg)[1].figures()
    parent = parent_run(cfg, store, figures)
    with TrackedRun(store, "original", {PARENT: parent, CONFIG_HASH: "0"}, resume=None) as run:
        run.describe(cfg, figures)
        epoch = dict.fromkeys(("train/loss", "train/acc", "val/loss", "val/acc", "lr"), 0.99)
        run.log_history([epoch] * cfg.trainer.max_epochs, [run.started] * cfg.trainer.max_epochs)
    draw = random.Random(0)
    with sqlite3.connect(folder / "mlflow.db") as database:
        for arm in range(arms):
            _copy(database, parent, arm_id := f"a{arm:031x}")
            _alter(database, arm_id, f"arm {arm}", {})
            for seed in range(seeds):
                _copy(database, run.id, copy := f"{arm:016x}{seed + 1:016x}")
                tags = {PARENT: arm_id, CONFIG_HASH: copy}
                _alter(database, copy, f"arm {arm}, seed {seed}", tags)
                of_copy = "where run_uuid = ? and key ="
                database.execute(f"update params set value = ? {of_copy} 'seed'", (seed, copy))
                accuracy = draw.gauss(0.993, 0.0005)
                database.execute(
                    f"update latest_metrics set value = ? {of_copy} 'val/acc'", (accuracy, copy)
                )
    return tracking.uri


def _copy(database: sqlite3.Connection, original: str, copy: str) -> None:
    for table in TABLES:
        columns = [row[1] for row in database.execute(f"pragma table_info({table})")]
        chosen = ", ".join("?" if column == "run_uuid" else column for column in columns)
        copied = f"select {chosen} from {table} where run_uuid = ?"
        into = f"insert into {table} ({', '.join(columns)})"
        database.execute(f"{into} {copied}", (copy, original))


def _alter(database: sqlite3.Connection, run: str, name: str, tags: dict[str, str]) -> None:
    database.execute("update runs set name = ? where run_uuid = ?", (name, run))
    for key, value in (*tags.items(), ("mlflow.runName", name)):
        where = "where run_uuid = ? and key = ?"
        database.execute(f"update tags set value = ? {where}", (value, run, key))
