"""The results of a search as text, and as metrics and files of its MLflow run."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from optuna import Study
from optuna.trial import TrialState

from experiments.cli import tables
from experiments.cli.text import measured, percent
from experiments.stats.intervals import interval
from experiments.study.figures import accuracy, complete, figures
from experiments.study.finals import Finalist
from experiments.tracking.store import Store


def counts(study: Study) -> dict[str, int]:
    """Networks tried, of them trained to the end and stopped early; and rejected proposals,
    which were over budget and cost nothing."""
    trials = study.get_trials(deepcopy=False)
    states = [trial.state for trial in trials]
    return {
        "tried": len(trials),
        "trained": states.count(TrialState.COMPLETE),
        "stopped_early": states.count(TrialState.PRUNED),
        "rejected": sum(trial.user_attrs.get("rejected", 0) for trial in trials),
    }


def in_words(study: Study) -> str:
    """The counts in a sentence, so that nobody takes the best of many for a mean."""
    count = counts(study)
    return (
        f"{count['tried']:,} networks tried: {count['trained']:,} trained to the end, "
        f"{count['stopped_early']:,} stopped early; "
        f"{count['rejected']:,} proposals rejected before training"
    )


def to_csv(study: Study) -> str:
    """A line for each trial: number, state, parameters, accuracy, MLflow run, all values."""
    trials = study.get_trials(deepcopy=False)
    names = sorted({name for trial in trials for name in trial.params})
    known = ("parameters", "val_acc", "run")
    rows = [
        [
            *(trial.number, trial.state.name.lower()),
            *(trial.user_attrs.get(key) for key in known),
            *(trial.params.get(name) for name in names),
        ]
        for trial in trials
    ]
    return tables.to_csv(["trial", "state", *known, *names], rows)


def log_study(study: Study, store: Store, parent: str, finalists: Sequence[Finalist]) -> None:
    """Attach metrics, figures and the table of trials to the study's MLflow run."""
    with tempfile.TemporaryDirectory() as temporary:
        for name, figure in figures(study, finalists).items():
            figure.savefig(Path(temporary, f"{name}.png"), dpi=120)
        Path(temporary, "trials.csv").write_text(to_csv(study), encoding="utf-8")
        if finalists:
            Path(temporary, "finalists.txt").write_text(report(study, finalists), encoding="utf-8")
        store.patiently(store.client.log_artifacts, parent, temporary)
    metrics = {f"trials/{name}": count for name, count in counts(study).items()}
    if trials := complete(study):
        metrics["trials/best_val_acc"] = max(map(accuracy, trials))
    if finalists:
        metrics["final/test_acc_mean"] = finalists[0].mean
        metrics["final/parameters"] = finalists[0].trial.user_attrs["parameters"]
    for name, value in metrics.items():
        store.patiently(store.client.log_metric, parent, name, value)
    store.patiently(store.client.set_terminated, parent)


def report(study: Study, finalists: Sequence[Finalist]) -> str:
    """The counts, and the finalists as a table, the best first."""
    header = (
        *("step", "parameters", "as a trial", "seeds", "mean, 95 % interval"),
        "lowest to highest",
    )
    rows = []
    for finalist in finalists:
        values = finalist.finished
        diverged = len(finalist.accuracies) - len(values)
        rows.append(
            (
                finalist.step,
                f"{finalist.trial.user_attrs['parameters']:,}",
                percent(accuracy(finalist.trial)),
                f"{len(values)}" + (f", {diverged} diverged" if diverged else ""),
                measured(interval(values)) if values else "",
                f"{min(values) * 100:.2f} to {max(values) * 100:.2f}" if values else "",
            )
        )
    return (
        f"{in_words(study)}\n{tables.to_text(header, rows, right=header[1:])}"
        f"the winner is the best of {len(finalists)} finalists on the test images, so its mean is "
        "a little too high;\nother seeds give an unbiased one: python -m experiments.train -m "
        f"step={finalists[0].step} 'seed=range(100,110)'"
    )
