"""The runs of one configuration over its seeds, under a parent run that sums them up."""

import statistics
import time
from pathlib import Path

from filelock import FileLock
from mlflow.entities import Metric, Param
from omegaconf import DictConfig

from experiments.identity import config_hash
from experiments.tracking import CONFIG_HASH, Store, parameters

PARENT = "mlflow.parentRunId"
SUMMED_UP = "val/acc"


def parent_run(cfg: DictConfig, store: Store, figures: dict[str, float]) -> str:
    """The id of the parent run of a configuration's seeds; it is made if there is none.

    Args:
        figures: metrics that all seeds have in common.
    """
    identity = config_hash(cfg, seed=False)
    query = f"tags.{CONFIG_HASH} = '{identity}'"
    oldest = {"filter_string": query, "order_by": ["attributes.start_time ASC"], "max_results": 1}
    with FileLock(Path(cfg.checkpoints.root, f"{identity}.lock")):
        found = store.client.search_runs([store.experiment_id], **oldest)
        if found:
            return found[0].info.run_id
        tags = {
            CONFIG_HASH: identity,
            "step": cfg.step,
            "experiment": cfg.experiment,
            "mlflow.note.content": cfg.description,
        }
        tags = {key: value for key, value in tags.items() if value is not None}
        run = store.client.create_run(store.experiment_id, tags=tags, run_name=cfg.name)
        now = int(time.time() * 1000)
        params = [Param(k, v) for k, v in parameters(cfg).items() if k != "seed"]
        metrics = [Metric(name, value, now, 0) for name, value in figures.items()]
        store.client.log_batch(run.info.run_id, params=params, metrics=metrics)
        store.client.set_terminated(run.info.run_id)  # nothing runs in it
    # where machines share a store but no folder, two may have been made: all take the older
    return store.client.search_runs([store.experiment_id], **oldest)[0].info.run_id


def sum_up(cfg: DictConfig, store: Store, parent: str) -> None:
    """Log n, mean, deviation, minimum and maximum of the last accuracies of finished seeds.

    A seed that was trained more than once counts with its latest run.
    """
    with FileLock(Path(cfg.checkpoints.root, f"{config_hash(cfg, seed=False)}.lock")):
        runs = store.client.search_runs(
            [store.experiment_id],
            f"tags.`{PARENT}` = '{parent}' and attributes.status = 'FINISHED'",
            order_by=["attributes.start_time ASC"],
        )
        latest = {run.data.tags[CONFIG_HASH]: run.data.metrics[SUMMED_UP] for run in runs}
        values = list(latest.values())
        if not values:
            return
        summary = {
            "seeds": len(values),
            f"{SUMMED_UP}_mean": statistics.mean(values),
            f"{SUMMED_UP}_min": min(values),
            f"{SUMMED_UP}_max": max(values),
        }
        if len(values) > 1:
            summary[f"{SUMMED_UP}_std"] = statistics.stdev(values)
        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, len(values)) for name, value in summary.items()]
        store.client.log_batch(parent, metrics=metrics)
        store.client.set_terminated(parent)  # also of a parent whose making was cut short
