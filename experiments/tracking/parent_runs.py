"""The runs of one configuration over its seeds, under a parent run that sums them up."""

import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import pandas as pd
from filelock import FileLock
from mlflow.entities import Metric, Run, RunTag
from mlflow.exceptions import MlflowException
from omegaconf import DictConfig, OmegaConf

from experiments.cli.text import measured, percent
from experiments.stats.intervals import interval, judge
from experiments.tracking.identity import CONFIG_HASH, DIGEST, identity
from experiments.tracking.notes import card, note
from experiments.tracking.part_of_data import PARTIAL, part_of_data
from experiments.tracking.run import TrackedRun
from experiments.tracking.store import Store

PARENT = "mlflow.parentRunId"
VALIDATED, TESTED = "val/acc", "test/acc"
COSTS = ("parameters", "mult_adds", "bytes", "receptive_field")


def judged(metrics: Collection[str], end: str = "") -> str:
    """The accuracy that a run, or with `end` a parent run, is judged by.

    It is the one on the test images, if others were held out to choose the epoch.
    """
    return (TESTED if TESTED + end in metrics else VALIDATED) + end


def parent_run(cfg: DictConfig, store: Store, digest: str, figures: dict[str, float]) -> str:
    """The id of the parent run of a configuration's seeds: restored if it was deleted; created,
    with the metrics `figures`, if there is none."""
    group = identity(cfg, digest, seed=False)
    with FileLock(Path(cfg.checkpoints.root, f"{'-'.join(group.values())}.lock")):
        if not (found := store.revived(group)):
            tags = {**group, "step": cfg.step, "experiment": cfg.experiment}
            tags[PARTIAL] = part_of_data(cfg)
            with TrackedRun(store, cfg.name, tags, resume=None) as run:
                seedless = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "seed"])
                run.describe(seedless, figures)
            # machines that share a store but no folder may have created one each
            found = store.matching(group)
    return found[0].info.run_id


def sum_up(cfg: DictConfig, store: Store, parent: str) -> None:
    """Log number, mean, deviation, minimum and maximum of the accuracies of finished seeds.

    A seed that was trained more than once counts with its latest run. The models of all seeds get
    the verdict, and a card that says what they are.
    """
    with FileLock(Path(cfg.checkpoints.root, f"{parent}.lock")):
        runs = store.search(f"tags.`{PARENT}` = '{parent}' and attributes.status = 'FINISHED'")
        latest = {run.data.tags[CONFIG_HASH]: run.data.metrics for run in runs}
        if not latest:
            return
        parent = living(cfg, store, parent, runs[-1])
        table = pd.DataFrame(latest.values()).reindex(columns=[VALIDATED, TESTED]).dropna(axis=1)
        summary = {"seeds": len(table)}
        for name in table:
            found = table[name].agg(["mean", "min", "max", "std"]).dropna()
            summary |= found.add_prefix(f"{name}_")
        found = interval(table[judged(table.columns)].tolist())
        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, found.n) for name, value in summary.items()]
        tags = {"mlflow.note.content": note(cfg)}
        verdict = f"{measured(found)}, {found.n} seed{'' if found.n == 1 else 's'}"
        if part := part_of_data(cfg):
            verdict += f", on part of the data: {part}"
        elif (target := cfg.target.val_acc) is not None:
            verdict = f"{judge(found, target)} {percent(target)}: {verdict}"
            tags["verdict"] = verdict
        tags = [RunTag(name, text) for name, text in tags.items()]
        store.client.log_batch(parent, metrics=metrics, tags=tags)
        store.client.set_terminated(parent)  # its creation may have been interrupted
        for seed in runs:
            for model in seed.outputs.model_outputs:
                with suppress(MlflowException):  # somebody has deleted it
                    text = card(cfg, seed, model.model_id, verdict)
                    about = {"mlflow.note.content": text, "verdict": verdict}
                    store.client.set_logged_model_tags(model.model_id, about)


def living(cfg: DictConfig, store: Store, parent: str, seed: Run) -> str:
    """The id of a parent run that can be written to, in place of one that may have been deleted.

    If MLflow has removed the old one for good, its seeds get a new one.
    """
    if store.search(f"attributes.run_id = '{parent}'"):
        return parent
    figures = {name: seed.data.metrics[name] for name in COSTS}
    found = parent_run(cfg, store, seed.data.tags[DIGEST], figures)
    for run in store.search(f"tags.`{PARENT}` = '{parent}'"):
        store.client.set_tag(run.info.run_id, PARENT, found)
    return found
