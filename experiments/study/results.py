"""The results of a search as text, and as metrics and files of its MLflow run."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from mlflow.entities import Param
from omegaconf import DictConfig, OmegaConf
from optuna import Study
from pandas import DataFrame

from experiments.cli import tables
from experiments.cli.config import flatten
from experiments.cli.text import measured, percent
from experiments.stats.intervals import interval
from experiments.study.figures import draw
from experiments.study.finals import Finalist
from experiments.tracking.store import STUDY, STUDY_ID, Store

LOGGED = ["trials", "smallest_above", "final", "sampler", "pruner", "budget", "trainer", "seed"]
COLUMNS = ["trial", "state", "parameters", "val_acc", "run"]


def study_run(name: str, identifier: str, cfg: DictConfig, store: Store) -> str:
    """The id of a study's MLflow run, above those of its trials; created where there is none."""
    for found in store.matching({STUDY_ID: identifier, "kind": "study"}):
        return found.info.run_id
    tags = {STUDY: name, STUDY_ID: identifier, "kind": "study"}
    tags["mlflow.source.name"] = "experiments.search"
    run = store.client.create_run(store.experiment_id, tags=tags, run_name=f"search {name}")
    settings = flatten(OmegaConf.masked_copy(cfg, LOGGED))
    settings |= {f"space.{key}": values for key, values in cfg.space.items()}
    params = [Param(key, str(value)) for key, value in settings.items()]
    store.client.log_batch(run.info.run_id, params=params)
    store.client.set_terminated(run.info.run_id)  # nothing runs in it
    return run.info.run_id


def to_frame(study: Study) -> DataFrame:
    """A row for each trial: COLUMNS, its values by key, its score, and the proposals rejected."""
    attributes = ("number", "state", "user_attrs", "params", "value")
    frame = study.trials_dataframe(attributes).rename(columns={"number": "trial"})
    frame.columns = [name.removeprefix("user_attrs_") for name in frame.columns]
    frame = frame.reindex(columns=frame.columns.union([*COLUMNS, "rejected"]))
    frame.state = frame.state.str.lower()
    return frame.astype({"parameters": "Int64"})


def counts(trials: DataFrame) -> dict[str, int]:
    """Networks tried, of them trained to the end and stopped early; and rejected proposals,
    which were over budget and cost nothing."""
    return {
        "tried": len(trials),
        "trained": sum(trials.state == "complete"),
        "stopped_early": sum(trials.state == "pruned"),
        "rejected": int(trials.rejected.sum()),
    }


def log_study(
    study: Study,
    store: Store,
    parent: str,
    finalists: Sequence[Finalist],
    target: float | None = None,
) -> None:
    """Attach metrics, figures and the table of trials to the study's MLflow run."""
    trials = to_frame(study)
    trained = trials[trials.state == "complete"]
    with tempfile.TemporaryDirectory() as temporary:
        draw(study, trained, finalists, Path(temporary))
        table = trials.set_index(COLUMNS).filter(like="params_")
        table.columns = table.columns.str.removeprefix("params_")
        tables.without_formulas(table).to_csv(Path(temporary, "trials.csv"))
        if finalists:
            text = report(study, finalists, target)
            Path(temporary, "finalists.txt").write_text(text, encoding="utf-8")
        store.patiently(store.client.log_artifacts, parent, temporary)
    metrics = {f"trials/{name}": count for name, count in counts(trials).items()}
    if len(trained):
        metrics["trials/best_val_acc"] = trained.val_acc.max()
    if finalists:
        metrics["final/test_acc_mean"] = finalists[0].mean
        metrics["final/parameters"] = finalists[0].trial.user_attrs["parameters"]
    for name, value in metrics.items():
        store.patiently(store.client.log_metric, parent, name, value)
    store.patiently(store.client.set_terminated, parent)


def report(study: Study, finalists: Sequence[Finalist], target: float | None = None) -> str:
    """The counts, so that nobody takes the best of many for a mean; and the finalists as a table,
    the best first."""
    count = counts(to_frame(study))
    text = (
        f"{count['tried']:,} networks tried: {count['trained']:,} trained to the end, "
        f"{count['stopped_early']:,} stopped early; "
        f"{count['rejected']:,} proposals rejected before training"
    )
    if not finalists:
        return text
    header = "step", "parameters", "as a trial", "seeds", "mean, 95 % interval", "lowest to highest"
    rows = [
        (
            step,
            f"{trial.user_attrs['parameters']:,}",
            percent(trial.user_attrs["val_acc"]),
            f"{len(values)}" + (f", {diverged} diverged" if diverged else ""),
            measured(interval(values)) if values else "",
            f"{min(values) * 100:.2f} to {max(values) * 100:.2f}" if values else "",
        )
        for trial, step, values, diverged in finalists
    ]
    if target is not None and not finalists[0].holds(target):
        text += f"\nno finalist holds {percent(target)}: the one with the highest mean comes first"
    elif target is not None:
        text += f"\nthe first is the smallest finalist that holds {percent(target)}"
    return (
        f"{text}\n{tables.to_text(header, rows, right=header[1:])}"
        f"the winner is the best of {len(finalists)} finalists on the test images, so its mean is "
        "a little too high;\nother seeds give an unbiased one: python -m experiments.train -m "
        f"step={finalists[0].step} 'seed=range(100,110)'"
    )
