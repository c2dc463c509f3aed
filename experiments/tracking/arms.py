"""The finished runs of a store, grouped into arms: the evidence for a verdict."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from mlflow.entities import Run
from omegaconf import DictConfig

from experiments.cli.errors import UserError
from experiments.tracking.identity import config_hash
from experiments.tracking.parent_runs import PARENT
from experiments.tracking.store import CONFIG_HASH, Store, search


class Arm(NamedTuple):
    """Runs that differ in their seeds only, or in what they were not grouped by.

    Attributes:
        name: what people call it.
        step: the file that describes it, if any.
        changed: what it changes, in a line, and why.
        parameters, mult_adds: of the network; None where runs differ or do not have them.
        published_best, published_last: published accuracies, 0 to 1, if any.
        target: the accuracy that it should reach, 0 to 1.
        scores: the accuracy of each run by its seed; the latest where one was trained
            again, "SEED/HASH" where a seed has several configurations.
        failed: names of runs that failed, and have not been trained since.
        device: what they ran on.
        runs: MLflow's id of each run of `scores`, in the same order.
        parent: the id of the run that sums them up, if there is one.
    """

    name: str
    step: str | None
    changed: str
    parameters: int | None
    mult_adds: int | None
    published_best: float | None
    published_last: float | None
    target: float | None
    scores: dict[str, float]
    failed: list[str]
    device: str
    runs: list[str]
    parent: str | None

    @property
    def values(self) -> list[float]:
        return list(self.scores.values())


def of(store: Store, cfg: DictConfig, metric: str) -> Arm | None:
    """The arm of a configuration: its runs with any seed; None where there are no runs."""
    group = search(store, f"tags.{CONFIG_HASH} = '{config_hash(cfg, seed=False)}'")
    parents = [parent.info.run_id for parent in group]
    runs = [run for parent in parents for run in search(store, f"tags.`{PARENT}` = '{parent}'")]
    return gather(runs, metric)[0] if runs else None


def gather(runs: Iterable[Run], metric: str, group: Sequence[str] | None = None) -> list[Arm]:
    """The arms of runs, in the order of their steps, those without a step last.

    Args:
        runs: the oldest first; parent runs are left out.
        metric: the accuracy to take, 0 to 1, as it was last logged.
        group: names of the parameters that distinguish arms; None: all but the seed.

    Raises:
        UserError: no run has a parameter of `group`.
    """
    runs = list(runs)
    parents = {run.data.tags.get(PARENT) for run in runs}
    parents |= {run.info.run_id for run in runs if "seeds" in run.data.metrics}
    runs = [run for run in runs if run.info.run_id not in parents]
    for name in group or ():
        if not any(name in run.data.params for run in runs):
            known = sorted({key for run in runs for key in run.data.params})
            raise UserError(f"group: no run has a parameter {name}; there are {', '.join(known)}")
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        if group:
            key = tuple(run.data.params.get(name) for name in group)
        else:
            key = run.data.tags.get(PARENT), _name(run)
        groups.setdefault(key, []).append(run)
    arms = [_arm(each, metric, group) for each in groups.values()]
    counts = Counter(arm.name for arm in arms)
    arms = [
        arm._replace(name=f"{arm.name} ({arm.parent[:6]})")
        if counts[arm.name] > 1 and arm.parent
        else arm
        for arm in arms
    ]
    return sorted(arms, key=lambda arm: (arm.step is None, arm.step or "", "," in arm.name))


def _arm(runs: list[Run], metric: str, group: Sequence[str] | None) -> Arm:
    latest, failed = {}, {}
    for run in runs:
        identity = run.data.tags.get(CONFIG_HASH, run.info.run_id)
        if run.info.status == "FINISHED" and metric in run.data.metrics:
            latest[identity] = run
        elif run.info.status == "FAILED":
            failed[identity] = run.info.run_name
    latest = dict(sorted(latest.items(), key=lambda item: _seed_order(item[1])))
    kept = list(latest.values())
    seeds = Counter(run.data.params.get("seed") for run in kept)
    scores = {}
    for identity, run in latest.items():
        seed = run.data.params.get("seed", run.info.run_id)
        scores[seed if seeds[seed] == 1 else f"{seed}/{identity}"] = run.data.metrics[metric]
    last = runs[-1]
    params, tags = last.data.params, last.data.tags
    name = ", ".join(f"{key}={params.get(key)}" for key in group) if group else _name(last)
    step = _given(params.get("step"))
    unchanged = step is not None and "," not in name and params.get("published.step") == step
    return Arm(
        name=name,
        step=step,
        changed=tags.get("mlflow.note.content", ""),
        parameters=_common(kept, "parameters"),
        mult_adds=_common(kept, "mult_adds"),
        published_best=_number(params.get("published.best_val_acc")) if unchanged else None,
        published_last=_number(params.get("published.last_val_acc")) if unchanged else None,
        target=_number(params.get("target.val_acc")),
        scores=scores,
        failed=[name for identity, name in failed.items() if identity not in latest],
        device=", ".join(sorted({_device(run) for run in kept})),
        runs=[run.info.run_id for run in kept],
        parent=tags.get(PARENT),
    )


def _name(run: Run) -> str:
    """A run's name without its seed."""
    return re.sub(r", seed \S+$", "", run.info.run_name)


def _seed_order(run: Run) -> tuple[int, str]:
    seed = run.data.params.get("seed", "")
    return len(seed), seed  # 9 before 10


def _device(run: Run) -> str:
    tags = run.data.tags
    return f"{tags['device']} ({tags['device.name']})" if "device.name" in tags else "unknown"


def _common(runs: list[Run], metric: str) -> int | None:
    """The value that a metric has in all runs, if it is one."""
    values = {run.data.metrics.get(metric) for run in runs}
    value = values.pop() if len(values) == 1 else None
    return None if value is None else round(value)


def _given(param: str | None) -> str | None:
    return None if param in (None, "None", "") else param


def _number(param: str | None) -> float | None:
    given = _given(param)
    return None if given is None else float(given)
