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

from experiments.cli.text import measured, on_target, percent, pluralize
from experiments.stats.intervals import interval, judge
from experiments.tracking.identity import (
    CONFIG_HASH,
    DIGEST,
    PARTIAL,
    changed,
    identity,
    part_of_data,
)
from experiments.tracking.run import TrackedRun
from experiments.tracking.store import PARENT, Store

VALIDATED, TESTED = "val/acc", "test/acc"
COSTS = ("parameters", "mult_adds", "bytes", "receptive_field")


def judged(metrics: Collection[str], end: str = "") -> str:
    """The accuracy that a run, or with `end` a parent run, is judged by: the one on the test
    images, if others were held out to choose the epoch."""
    return (TESTED if TESTED + end in metrics else VALIDATED) + end


def parent_run(cfg: DictConfig, store: Store, digest: str, metrics: dict[str, float]) -> str:
    """The id of the parent run of a configuration's seeds: restored if it was deleted; created,
    with these metrics, if there is none. It is RUNNING until a seed has finished, or until
    the last one was killed or failed."""
    group = identity(cfg, digest, seed=False)
    with FileLock(Path(cfg.checkpoints.root, f"{group[CONFIG_HASH]}.lock")):
        if not (found := store.matching_or_restored(group)):
            tags = group | {"step": cfg.step, "experiment": cfg.experiment}
            tags[PARTIAL] = part_of_data(cfg)
            seedless = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "seed"])
            new = TrackedRun(store, cfg.name, tags, resume=None)
            new.describe(seedless, metrics)
            new.use_images(cfg, digest)
            # machines that share a store but no folder may have created one each
            found = store.matching(group)
    if "seeds" not in found[0].data.metrics:
        store.client.update_run(found[0].info.run_id, status="RUNNING")
    return found[0].info.run_id


def sum_up(cfg: DictConfig, store: Store, parent: str) -> None:
    """Log number, mean, deviation, minimum and maximum of the accuracies of finished seeds.

    A seed that was trained more than once counts with its latest run. If MLflow has removed the
    parent for good, its seeds get a new one. Their models get the verdict, and a card.
    """
    with FileLock(Path(cfg.checkpoints.root, f"{parent}.lock")):
        runs = store.search(f"tags.`{PARENT}` = '{parent}' and attributes.status = 'FINISHED'")
        latest = {run.data.tags[CONFIG_HASH]: run.data.metrics for run in runs}
        if not latest:
            return
        living = parent
        if not store.search(f"attributes.run_id = '{parent}'"):  # it was deleted
            costs = {name: runs[-1].data.metrics[name] for name in COSTS}
            living = parent_run(cfg, store, runs[-1].data.tags[DIGEST], costs)
        for run in store.matching({PARENT: parent}) if living != parent else ():
            store.client.set_tag(run.info.run_id, PARENT, living)  # MLflow has removed their own
        table = pd.DataFrame(latest.values()).reindex(columns=[VALIDATED, TESTED]).dropna(axis=1)
        summary = {"seeds": len(table)}
        for name in table:
            summary |= (
                table[name].agg(["mean", "min", "max", "std"]).dropna().add_prefix(f"{name}_")
            )
        found = interval(table[judged(table.columns)].tolist())
        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, found.n) for name, value in summary.items()]
        tags = [RunTag("mlflow.note.content", note(cfg)), RunTag("changed", changed(cfg))]
        verdict = f"{measured(found)}, {pluralize(found.n, 'seed')}"
        if part := part_of_data(cfg):
            verdict += f", on part of the data: {part}"
        elif (target := cfg.target.val_acc) is not None:
            verdict = f"{on_target(judge(found, target), percent(target))}: {verdict}"
            tags.append(RunTag("verdict", verdict))
        store.client.log_batch(living, metrics=metrics, tags=tags)
        store.client.set_terminated(living)
        for seed in runs:
            for model in seed.outputs.model_outputs:
                with suppress(MlflowException):  # somebody has deleted it
                    text = card(cfg, seed, model.model_id, verdict)
                    about = {"mlflow.note.content": text, "verdict": verdict}
                    store.client.set_logged_model_tags(model.model_id, about)


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
        for key, when in (("last_val_acc", "last epoch"), ("best_val_acc", "best")):
            if key in published:
                figures.append(f"{percent(published[key])} after the {when}")
        lines.append(f"Published ({published.step}, one run): {', '.join(figures)}.")
    return "\n\n".join(lines)


def card(cfg: DictConfig, seed: Run, model: str, verdict: str) -> str:
    """What the model of a seed, by its id, is and takes, what it costs, and how sure its accuracy
    is over all seeds; Markdown."""
    channels, size = cfg.data.in_channels, cfg.data.image_size
    costs = ", ".join(
        f"{seed.data.metrics[key]:,.0f} {key}{f' (at most {limit:,})' if limit else ''}"
        for key, limit in cfg.budget.items()
    )
    return f"""\
A network that tells {cfg.data.num_classes} classes of images apart: {seed.info.run_name}.

{note(cfg)}

Accuracy: {verdict}.

Cost: {costs}.

Images: digest `{seed.data.tags[DIGEST]}`.

`mlflow.pyfunc.load_model("models:/{model}").predict(images)` gives the class of each image, and
with `params={{"logits": True}}` the outputs of the network. Images are
(N, {channels}, {size}, {size}), or rows of {channels * size**2} pixels, from 0 to 255, or from 0
to 1."""
