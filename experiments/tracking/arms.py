"""The finished runs of a store, grouped into arms: the evidence for a verdict."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from typing import NamedTuple

import pandas as pd
from mlflow.entities import Run
from omegaconf import DictConfig

from experiments.cli.errors import UserError
from experiments.cli.keys import nearest
from experiments.cli.text import trained_on
from experiments.tracking.identity import (
    CONFIG_HASH,
    DIGEST,
    PARTIAL,
    config_hash,
    is_setting,
    step_number,
)
from experiments.tracking.parent_runs import judged
from experiments.tracking.store import EVALUATED, PARENT, Store

SEVERAL = "several"  # in place of a value in which the runs of an arm differ


class Arm(NamedTuple):
    """Runs that differ in their seeds only, or in what they were not grouped by."""

    name: str  # no two arms have the same
    title: str  # without the mark that tells arms of one name apart
    step: str | None  # the file that describes it
    settings: dict[str, str]  # what changes the result, but for the seed; or SEVERAL
    parameters: int | None  # None where runs differ or do not say
    mult_adds: int | None
    published_best: float | None  # accuracies are from 0 to 1
    published_last: float | None
    target: float | None
    scores: dict[str, float]  # by seed, the latest; by "SEED/HASH" where configurations differ
    failed: dict[str, str]  # by seed, if it has not been trained since: the error
    device: str
    runs: list[str]  # MLflow's ids, in the order of `scores`
    parent: str | None  # the id of the run that sums them up
    digest: str | None  # of the images
    metric: str = "val/acc"
    images: int | None = None  # that runs were judged on; None where they differ or do not say

    @property
    def judged_on(self) -> tuple[str | None, str]:
        """Arms that were judged on other images cannot be compared."""
        return self.digest, self.metric

    @property
    def values(self) -> list[float]:
        return list(self.scores.values())


def of(store: Store, cfg: DictConfig, digest: str | None) -> Arm | None:
    """The arm of a configuration: its runs with any seed; None where there are no runs.

    `digest` is of the images that it was judged on, if they are known here. UserError: they are
    not, and there are runs on several sets of images.
    """
    parents = store.matching({CONFIG_HASH: config_hash(cfg, seed=False)})
    found = {parent.data.tags.get(DIGEST) for parent in parents}
    if digest is None and len(found) > 1:
        raise UserError(
            f"{cfg.name or cfg.step}: its runs are on {len(found)} different sets of images; train "
            f"one here, so that it is known which of them {cfg.data.root} has"
        )
    runs = []
    for parent in parents:
        if digest in (None, parent.data.tags.get(DIGEST)):
            runs += store.matching({PARENT: parent.info.run_id})
    return next(iter(gather(runs)), None)


def gather(
    runs: Collection[Run], metric: str | None = None, group: Sequence[str] | None = None
) -> list[Arm]:
    """The arms of runs: numbered steps, then others, then those without a step.

    Args:
        runs: the oldest first; parent runs, evaluations, and runs on part of their data among them
            are no arms.
        metric: the accuracy to take, 0 to 1, as it was last logged; None: what runs are judged by.
        group: names of the parameters that distinguish arms; None: all but the seed. UserError: no
            run has one of them.
    """
    there = {run.info.run_id for run in runs}
    runs = [run for run in runs if not {PARTIAL, EVALUATED} & run.data.tags.keys()]
    parents = {run.data.tags.get(PARENT) for run in runs}
    runs = [r for r in runs if r.info.run_id not in parents and "seeds" not in r.data.metrics]
    known = sorted({name for run in runs for name in run.data.params})
    for name in group or ():
        if name not in known:
            raise UserError(f"group: {no_parameter(name, known)}")
    groups = defaultdict(list)
    for run in runs:
        digest, parent = run.data.tags.get(DIGEST, ""), run.data.tags.get(PARENT, "")
        groups[(_title(run, group), digest) if group or not parent else ("", parent)].append(run)
    titles = Counter(_title(members[-1], group) for members in groups.values())
    arms = []
    for (_, mark), members in groups.items():
        title, parent = _title(members[-1], group), members[-1].data.tags.get(PARENT)
        name = f"{title} ({mark[:6]})" if titles[title] > 1 and mark else title
        arms.append(_arm(name, title, members, metric, parent if parent in there else None))
    return sorted(arms, key=_place)


def no_parameter(name: str, known: list[str]) -> str:
    """A sentence about a parameter that no run has, with those that are probably meant."""
    near = nearest(name, known)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
    return f"no run has a parameter {name}; {hint}"


def _place(arm: Arm) -> tuple[bool, bool, str, bool]:
    """Where an arm stands among others, to sort by."""
    step = arm.step or ""
    return arm.step is None, step_number(step) is None, step, "," in arm.name


def _title(run: Run, group: Sequence[str] | None) -> str:
    """A run's name without its seed, or its values of the parameters of `group`."""
    if group:
        return ", ".join(f"{name}={run.data.params.get(name)}" for name in group)
    return re.sub(r", seed \d+(?=, |$| \()", "", run.info.run_name, count=1)


def _arm(name: str, title: str, runs: list[Run], metric: str | None, parent: str | None) -> Arm:
    metric = metric or judged({name for run in runs for name in run.data.metrics})
    done = [r for r in runs if r.info.status == "FINISHED" and metric in r.data.metrics]
    latest = {_identity(run): run for run in done}
    failed = [r for r in runs if r.info.status == "FAILED" and _identity(r) not in latest]
    kept = sorted(latest.values(), key=lambda run: (len(_seed(run)), _seed(run)))  # 9 before 10
    last = runs[-1]
    given = {key: value for key, value in last.data.params.items() if value not in ("None", "")}
    step = given.get("step")
    unchanged = step is not None and step == given.get("published.step") and "," not in title
    params = pd.DataFrame([run.data.params for run in kept]).fillna("None")
    return Arm(
        name=name,
        title=title,
        step=step,
        settings={
            key: values[0] if values.nunique() == 1 else SEVERAL
            for key, values in params.items()
            if is_setting(key) and set(values) != {"None"}
        },
        parameters=_common(kept, "parameters"),
        mult_adds=_common(kept, "mult_adds"),
        published_best=accuracy(last, "published.best_val_acc") if unchanged else None,
        published_last=accuracy(last, "published.last_val_acc") if unchanged else None,
        target=accuracy(last, "target.val_acc"),
        scores={label: accuracy(run, metric) for label, run in _by_seed(kept).items()},
        failed={label: run.data.tags.get("error", "") for label, run in _by_seed(failed).items()},
        device=", ".join(sorted({trained_on(run.data.tags) for run in kept})),
        runs=[run.info.run_id for run in kept],
        parent=parent,
        digest=last.data.tags.get(DIGEST),
        metric=metric,
        images=_common(kept, metric.partition("/")[0] + "/images"),
    )


def _identity(run: Run) -> str:
    return run.data.tags.get(CONFIG_HASH, run.info.run_id)


def _seed(run: Run) -> str:
    return run.data.params.get("seed", run.info.run_id)


def _by_seed(runs: Collection[Run]) -> dict[str, Run]:
    """Runs by their seed, or "SEED/HASH" where a seed has several configurations."""
    counts = Counter({_identity(run): _seed(run) for run in runs}.values())
    several = {seed for seed, count in counts.items() if count > 1}
    return {
        _seed(run) + (f"/{_identity(run)}" if _seed(run) in several else ""): run for run in runs
    }


def fraction(value: str | float) -> float:
    """An accuracy, 0 to 1. Raises ValueError for anything else."""
    if not 0 <= float(value) <= 1:
        raise ValueError(f"{value} is not an accuracy from 0 to 1")
    return float(value)


def accuracy(run: Run, key: str) -> float | None:
    """An accuracy of a run, among its metrics or parameters. UserError: it is not one."""
    value = run.data.metrics.get(key, run.data.params.get(key, ""))
    try:
        return None if value in ("None", "") else fraction(value)
    except ValueError as error:
        raise UserError(
            f"run {run.info.run_id}: {key}: {error}; delete it, or leave it out with filter="
        ) from error


def _common(runs: Sequence[Run], metric: str) -> int | None:
    """The value of a metric, if all runs have the same."""
    values = {run.data.metrics.get(metric, math.nan) for run in runs}
    value = values.pop() if len(values) == 1 else math.nan
    return round(value) if math.isfinite(value) else None
