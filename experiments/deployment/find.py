"""Find the run whose network is to be used."""

import re

from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from experiments.cli.errors import UserError
from experiments.stats.target import reaches
from experiments.tracking.parent_runs import PARENT
from experiments.tracking.store import Store, reason, search


def find(store: Store, name: str) -> Run:
    """The run with an id, or the run that a registered model comes from.

    For a parent run it is the best of its seeds.

    Raises:
        UserError: there is no such run, or it is not finished.
    """
    try:
        run = store.client.get_run(name if re.fullmatch(r"\w{32}", name) else _source(store, name))
    except MlflowException as error:
        raise UserError(
            f"run={name}: is neither a run nor a registered model of {store.uri}; "
            "make ui shows what there is"
        ) from error
    if PARENT in run.data.tags:
        if run.info.status != "FINISHED":
            raise UserError(f"run={name}: is {run.info.status}; only a finished run can predict")
        return run
    seeds = _finished(store, f"tags.`{PARENT}` = '{run.info.run_id}'")
    if not seeds:
        raise UserError(f"run={name}: has no finished seed")
    return max(seeds, key=lambda seed: seed.data.metrics.get("val/acc", 0))


def best(store: Store, where: str | None = None) -> Run:
    """The smallest network that reaches its target by the mean of its seeds; if there is
    none, the smallest of which a single run does. Of its seeds, the best one.

    Args:
        where: an MLflow filter; None: all networks that know every class of their data.

    Raises:
        UserError: no network reaches its target, or the filter is invalid.
    """
    also = f" and {where}" if where else ""
    try:
        parents = _finished(store, f"metrics.seeds > 0{also}")
        seeds = _finished(store, f"tags.`{PARENT}` != ''{also}")
    except MlflowException as error:
        raise UserError(f"where={where}: {reason(error)}") from error
    if where is None:
        parents, seeds = (
            [run for run in runs if run.data.params.get("data.classes", "None") == "None"]
            for runs in (parents, seeds)
        )
    for runs, metric in ((parents, "val/acc_mean"), (seeds, "val/acc")):
        candidates = [run for run in runs if _reaches_target(run, metric)]
        if candidates:
            smallest = min(
                candidates,
                key=lambda run: (run.data.metrics["parameters"], -run.data.metrics[metric]),
            )
            return find(store, smallest.info.run_id)
    raise UserError(
        f"run=best: none of {len(seeds):,} finished runs in {store.uri} reaches a target; "
        "train with a target, or name a run with run="
    )


def _source(store: Store, name: str) -> str:
    """The id of the run that a registered, or a logged, model comes from."""
    client, name = store.client, name.removeprefix("models:/")
    title, _, alias = name.partition("@")
    title, _, version = title.partition("/")
    if re.fullmatch(r"m-\w{32}", name):
        return client.get_logged_model(name).source_run_id
    if alias:
        return client.get_model_version_by_alias(title, alias).run_id
    if version:
        return client.get_model_version(title, version).run_id
    versions = client.search_model_versions(f"name = '{title.replace(chr(39), '')}'")
    if not versions:
        raise MlflowException(f"there is no model {title}")
    return max(versions, key=lambda found: int(found.version)).run_id


def _finished(store: Store, query: str) -> list[Run]:
    return search(store, f"{query} and attributes.status = 'FINISHED'")


def _reaches_target(run: Run, metric: str) -> bool:
    target, metrics = run.data.params.get("target.val_acc", "None"), run.data.metrics
    if target == "None" or "parameters" not in metrics:
        return False
    return reaches(metrics.get(metric, 0), float(target))
