"""The runs of one configuration over its seeds, under a parent run that sums them up."""

import statistics
import time
from pathlib import Path

from filelock import FileLock
from mlflow.entities import Metric, Param, RunTag
from omegaconf import DictConfig

from experiments.cli.text import measured, percent
from experiments.stats.intervals import interval, judge
from experiments.tracking.identity import config_hash
from experiments.tracking.run import parameters
from experiments.tracking.store import CONFIG_HASH, Store

PARENT = "mlflow.parentRunId"
SUMMED_UP = "val/acc"
PUBLISHED = {"last_val_acc": "after the last epoch", "best_val_acc": "after the best"}


def parent_run(cfg: DictConfig, store: Store, figures: dict[str, float]) -> str:
    """The id of the parent run of a configuration's seeds; created if there is none.

    Args:
        figures: metrics that all seeds have in common.
    """
    group = config_hash(cfg, seed=False)

    def oldest() -> str | None:
        runs = store.client.search_runs(
            [store.experiment_id],
            f"tags.{CONFIG_HASH} = '{group}'",
            order_by=["attributes.start_time ASC"],
            max_results=1,
        )
        return runs[0].info.run_id if runs else None

    with FileLock(Path(cfg.checkpoints.root, f"{group}.lock")):
        if found := oldest():
            return found
        tags = {CONFIG_HASH: group, "step": cfg.step, "experiment": cfg.experiment}
        tags = {key: value for key, value in tags.items() if value is not None}
        run = store.client.create_run(store.experiment_id, tags=tags, run_name=cfg.name)
        now = int(time.time() * 1000)
        params = [Param(key, value) for key, value in parameters(cfg).items() if key != "seed"]
        metrics = [Metric(name, value, now, 0) for name, value in figures.items()]
        store.client.log_batch(run.info.run_id, params=params, metrics=metrics)
        store.client.set_terminated(run.info.run_id)  # no process works on it
    return oldest()  # machines that share a store but no folder may have created one each


def sum_up(cfg: DictConfig, store: Store, parent: str) -> None:
    """Log number, mean, deviation, minimum and maximum of the last accuracies of finished seeds.

    A seed that was trained more than once counts with its latest run.
    """
    with FileLock(Path(cfg.checkpoints.root, f"{parent}.lock")):
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
        tags = [RunTag("mlflow.note.content", note(cfg))]
        if cfg.target.val_acc is not None:
            tags.append(RunTag("verdict", judged(values, cfg.target.val_acc)))
        store.client.log_batch(parent, metrics=metrics, tags=tags)
        store.client.set_terminated(parent)  # its creation may have been interrupted


def note(cfg: DictConfig) -> str:
    """What a configuration changes and why, its target, and what was published; Markdown."""
    lines = [f"**{cfg.description}**"] if cfg.description else []
    if cfg.why:
        lines.append(f"Why: {cfg.why}.")
    goals = [f"at most {cfg.budget.parameters:,} parameters"] if cfg.budget.parameters else []
    if cfg.target.val_acc is not None:
        goals.append(f"{percent(cfg.target.val_acc)} after the last epoch")
    if goals:
        lines.append(f"Target: {', '.join(goals)}.")
    if published := cfg.published:
        figures = [f"{published.parameters:,} parameters"] if "parameters" in published else []
        for key, words in PUBLISHED.items():
            figures += [f"{percent(published[key])} {words}"] if key in published else []
        lines.append(f"Published ({published.step}, one run): {', '.join(figures)}.")
    return "\n\n".join(lines)


def judged(values: list[float], target: float) -> str:
    """Whether the mean of the seeds is known to reach the target, in words."""
    found = interval(values)
    seeds = "1 seed" if found.n == 1 else f"{found.n} seeds"
    return f"{judge(found, target)} {percent(target)}: {measured(found)}, {seeds}"
