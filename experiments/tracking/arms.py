"""The finished runs of a store, grouped into arms: the evidence for a verdict."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from typing import NamedTuple

from mlflow.entities import Run
from omegaconf import DictConfig

from experiments.cli.config import RESULT
from experiments.cli.errors import UserError
from experiments.cli.keys import kind
from experiments.tracking.identity import CONFIG_HASH, DIGEST, FILES, config_hash
from experiments.tracking.parent_runs import PARENT, judged
from experiments.tracking.part_of_data import whole
from experiments.tracking.store import EVALUATED, Store


class Arm(NamedTuple):
    """Runs that differ in their seeds only, or in what they were not grouped by.

    Accuracies are from 0 to 1.

    Attributes:
        name: what it is called; no two arms have the same name.
        title: the same without the mark that tells arms of one name apart.
        step: the file that describes it, if any.
        settings: parameters that change the result, but for the seed; "several" where runs differ.
        parameters, mult_adds: of the network; None where runs differ or do not have them.
        scores: the accuracy of each run by its seed; the latest where one was trained
            again, "SEED/HASH" where a seed has several configurations.
        failed: names of runs that failed, and have not been trained since.
        runs: MLflow's id of each run of `scores`, in the same order.
        parent: the id of the run that sums them up, if there is one.
        digest: of the images of all runs.
        metric: the name of the accuracy.
    """

    name: str
    title: str
    step: str | None
    settings: dict[str, str]
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
    digest: str | None
    metric: str = "val/acc"

    @property
    def judged_on(self) -> tuple[str | None, str]:
        """The images that all runs were judged on; arms with others cannot be compared."""
        return self.digest, self.metric

    @property
    def values(self) -> list[float]:
        return list(self.scores.values())


def of(store: Store, cfg: DictConfig, digest: str | None) -> Arm | None:
    """The arm of a configuration: its runs with any seed; None where there are no runs.

    Args:
        digest: of the images that it was judged on; None if they are not known here.

    Raises:
        UserError: there are runs on several sets of images, and no digest to choose by.
    """
    parents = store.search(f"tags.{CONFIG_HASH} = '{config_hash(cfg, seed=False)}'")
    found = {parent.data.tags.get(DIGEST) for parent in parents}
    if digest is None and len(found) > 1:
        raise UserError(
            f"{cfg.name or cfg.step}: its runs are on {len(found)} different sets of images; train "
            f"one here, so that it is known which of them {cfg.data.root} has"
        )
    parents = [one for one in parents if digest in (None, one.data.tags.get(DIGEST))]
    queries = [f"tags.`{PARENT}` = '{parent.info.run_id}'" for parent in parents]
    runs = [run for query in queries for run in store.search(query)]
    return next(iter(gather(runs)), None)


def gather(
    runs: Collection[Run], metric: str | None = None, group: Sequence[str] | None = None
) -> list[Arm]:
    """The arms of runs, in the order of their steps, those without a step last.

    Args:
        runs: the oldest first; parent runs, evaluations, and runs on part of their data among them
            are no arms.
        metric: the accuracy to take, 0 to 1, as it was last logged; None: what runs are judged by.
        group: names of the parameters that distinguish arms; None: all but the seed.

    Raises:
        UserError: no run has a parameter of `group`.
    """
    there = {run.info.run_id for run in runs}
    runs = [run for run in whole(runs) if EVALUATED not in run.data.tags]
    runs = [run for run in runs if "seeds" not in run.data.metrics]
    parents = {run.data.tags.get(PARENT) for run in runs}
    runs = [run for run in runs if run.info.run_id not in parents]
    known = sorted({name for run in runs for name in run.data.params})
    for name in group or ():
        if name not in known:
            raise UserError(f"group: no run has a parameter {name}; there are {', '.join(known)}")
    groups = defaultdict(list)
    for run in runs:
        digest = run.data.tags.get(DIGEST)
        if group:
            values = (f"{name}={run.data.params.get(name)}" for name in group)
            groups[", ".join(values), digest, None].append(run)
        else:
            parent = run.data.tags.get(PARENT)
            groups[None if parent else _name(run), digest, parent].append(run)
    names = {key: key[0] or _name(members[-1]) for key, members in groups.items()}
    counts = Counter(names.values())
    arms = []
    for key, members in groups.items():
        name, (_, digest, parent) = names[key], key
        mark = (parent or digest or "")[:6]
        shown = f"{name} ({mark})" if counts[name] > 1 and mark else name
        above = members[-1].data.tags.get(PARENT)
        arms.append(_arm(shown, name, members, metric, above if above in there else None))
    return sorted(arms, key=lambda arm: (arm.step is None, arm.step or "", "," in arm.name))


def _arm(name: str, title: str, runs: list[Run], metric: str | None, parent: str | None) -> Arm:
    metric = metric or judged({name for run in runs for name in run.data.metrics})
    latest, failed = {}, {}
    for run in runs:
        identity = run.data.tags.get(CONFIG_HASH, run.info.run_id)
        if run.info.status == "FINISHED" and metric in run.data.metrics:
            latest[identity] = run
        elif run.info.status == "FAILED":
            failed[identity] = run.info.run_name
    seeds = {key: run.data.params.get("seed", run.info.run_id) for key, run in latest.items()}
    order = sorted(latest, key=lambda key: (len(seeds[key]), seeds[key]))  # 9 before 10
    counts = Counter(seeds.values())
    labels = [seeds[key] if counts[seeds[key]] == 1 else f"{seeds[key]}/{key}" for key in order]
    kept = [latest[key] for key in order]
    data = runs[-1].data
    params = {key: value for key, value in data.params.items() if value not in ("None", "")}
    step = params.get("step")
    unchanged = step is not None and "," not in title and params.get("published.step") == step
    published = params if unchanged else {}
    return Arm(
        name=name,
        title=title,
        step=step,
        settings=_settings(kept),
        parameters=_common(kept, "parameters"),
        mult_adds=_common(kept, "mult_adds"),
        published_best=_number(published, "published.best_val_acc"),
        published_last=_number(published, "published.last_val_acc"),
        target=_number(params, "target.val_acc"),
        scores={key: score(run, metric) for key, run in zip(labels, kept, strict=True)},
        failed=[run_name for key, run_name in failed.items() if key not in latest],
        device=", ".join(sorted({_device(run.data.tags) for run in kept})),
        runs=[run.info.run_id for run in kept],
        parent=parent,
        digest=data.tags.get(DIGEST),
        metric=metric,
    )


def fraction(value: str | float) -> float:
    """An accuracy, 0 to 1. Raises ValueError for anything else."""
    if not 0 <= float(value) <= 1:
        raise ValueError(f"{value} is not an accuracy from 0 to 1")
    return float(value)


def score(run: Run, metric: str) -> float:
    """An accuracy of a run. Raises UserError if it is none."""
    try:
        return fraction(run.data.metrics[metric])
    except ValueError as error:
        raise UserError(
            f"run {run.info.run_id}: {metric}: {error}; delete it, or leave it out with filter="
        ) from error


def _name(run: Run) -> str:
    """A run's name without its seed."""
    return re.sub(r", seed \S+$", "", run.info.run_name)


def _device(tags: dict[str, str]) -> str:
    known = {"device", "device.name"} <= tags.keys()
    return f"{tags['device']} ({tags['device.name']})" if known else "unknown"


def _settings(runs: list[Run]) -> dict[str, str]:
    params = [run.data.params for run in runs]
    keys = dict.fromkeys(key for each in params for key in each)
    values = {key: {each.get(key, "None") for each in params} for key in keys}
    return {
        key: found.pop() if len(found) == 1 else "several"
        for key, found in values.items()
        if kind(key) == RESULT and key not in FILES and found != {"None"}
    }


def _common(runs: list[Run], metric: str) -> int | None:
    """The value of a metric, if all runs have the same."""
    values = {run.data.metrics.get(metric) for run in runs}
    value = values.pop() if len(values) == 1 else None
    return round(value) if value is not None and math.isfinite(value) else None


def _number(params: dict[str, str], key: str) -> float | None:
    try:
        return fraction(params[key]) if key in params else None
    except ValueError as error:
        raise UserError(f"a run of {params.get('step') or 'the store'}: {key}: {error}") from error
