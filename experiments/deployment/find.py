"""Find the run whose network is to be used."""

import re

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from omegaconf import DictConfig

from experiments.cli.errors import UserError
from experiments.cli.text import percent
from experiments.stats.target import reaches
from experiments.tracking import arms
from experiments.tracking.identity import DIGEST, PARTIAL
from experiments.tracking.parent_runs import TESTED, judged
from experiments.tracking.store import PARENT, STUDY, Store
from experiments.tracking.trained_network import TrainedNetwork, load_network

FINISHED = "attributes.status = 'FINISHED'"
ALL_CLASSES = "params.`data.classes` = 'None'"
HAS_TARGET = "metrics.parameters > 0 and params.`target.val_acc` != 'None'"


def chosen_run(cfg: DictConfig) -> tuple[Store, Run, TrainedNetwork]:
    """The store, and the run in it that `run` and `where` name, with its network."""
    store = Store(cfg.tracking, create=False)
    run = find_run(store, cfg.run, cfg.where)
    return store, run, load_network(store, run)


def find_run(store: Store, name: str, where: str | None = None) -> Run:
    """The run with an id, the run that a registered model comes from, or of "best", see `best`; for
    a parent run the best of its seeds. UserError: there is no such run, or it is not finished."""
    if name == "best":
        return best(store, where)
    if where:
        raise UserError(f"where={where}: is for run=best; leave it out")
    what = f"is neither a run nor a registered model of {store.uri}; make ui shows what there is"
    try:
        source = name if re.fullmatch(r"\w{32}", name) else _source(store.client, name)
        if source != name:
            what = f"comes from run {source}, which is no longer in {store.uri}"
        run = store.client.get_run(source)
    except (MlflowException, ValueError) as error:
        raise UserError(f"run={name}: {what}") from error
    if PARENT in run.data.tags:
        if run.info.status != "FINISHED":
            raise UserError(f"run={name}: is {run.info.status}; only a finished run can predict")
        return run
    seeds = store.search(f"tags.`{PARENT}` = '{run.info.run_id}' and {FINISHED}")
    if not seeds:
        raise UserError(f"run={name}: has no finished seed")
    # by the validation of what was exported: the best epoch, if images were held out
    metric = "val/best_acc" if TESTED in seeds[0].data.metrics else "val/acc"
    return max(seeds, key=lambda seed: seed.data.metrics.get(metric, 0))


def best(store: Store, where: str | None = None) -> Run:
    """The best seed of the smallest network that reaches its target by the mean of its seeds;
    if there is none, the smallest network of which a single run does.

    `where` is an MLflow filter; None: all networks that know every class of their data. UserError:
    no network reaches its target, or the filter is invalid.
    """
    with store.errors():
        runs = store.search(f"{HAS_TARGET} and {FINISHED}", where=where or ALL_CLASSES)
    reached, missed = [], []
    for run in (run for run in runs if not {PARTIAL, STUDY} & run.data.tags.keys()):
        single, metrics = PARENT in run.data.tags, run.data.metrics
        accuracy = metrics.get(judged(metrics, "" if single else "_mean"), 0)
        target, seeds = arms.accuracy(run, "target.val_acc"), int(metrics.get("seeds", 1))
        if reaches(accuracy, target):
            reached.append((single, metrics["parameters"], -accuracy, run.info.run_id, run))
        else:  # the luck of one seed comes after the mean of several
            text = f"{run.info.run_name}: {percent(accuracy)} of {percent(target)}, n = {seeds}"
            text += f"; take it with run={run.info.run_id}"
            missed.append((seeds > 1, accuracy - target, text))
    if not (reached or missed):
        which = f"where={where} finds no" if where else f"{store.uri} has no"
        raise UserError(f"run=best: {which} finished run with a target; name a run with run=")
    if not reached:
        what = f"no finished run in {store.uri} reaches its target"
        several = "of those with several seeds, " if max(missed)[0] else ""
        raise UserError(f"run=best: {what}; {several}the nearest is {max(missed)[-1]}")
    digests = {each[-1].data.tags[DIGEST] for each in reached if DIGEST in each[-1].data.tags}
    if len(digests) > 1:
        query = f'tags.`{DIGEST}` = \\"{max(digests)}\\" and {ALL_CLASSES}'.replace("'", '\\"')
        raise UserError(
            f"run=best: networks for {len(digests)} sets of images reach their targets; choose "
            f"one: 'where=\"{query}\"'"
        )
    return find_run(store, min(reached)[3])


def credit(store: Store, run: Run) -> str:
    """The run behind a result: its name, its accuracy and where to look at it."""
    accuracy = percent(run.data.metrics.get(name := judged(run.data.metrics)))
    where = "on the test images" if name == TESTED else "in validation"
    return f"by {run.info.run_name}, {accuracy} {where}: {store.url(run.info.run_id)}"


def _source(client: MlflowClient, name: str) -> str:
    """The id of the run that a registered, or a logged, model comes from."""
    name = name.removeprefix("models:/")
    if re.fullmatch(r"m-\w{32}", name):
        return client.get_logged_model(name).source_run_id
    title, mark, which = re.fullmatch(r"([^@/]*)([@/]?)(.*)", name, re.DOTALL).groups()
    if mark and which:
        find = client.get_model_version_by_alias if mark == "@" else client.get_model_version
        return find(title, which).run_id
    versions = client.get_registered_model(title).latest_versions  # of each stage; maybe none
    return max(versions, key=lambda found: int(found.version)).run_id
