"""What a search has found, in pictures and in a table; for the terminal and for MLflow."""

import csv
import io
import tempfile
import warnings
from itertools import accumulate
from pathlib import Path

import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from optuna import Study
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console
from rich.table import Table

from experiments.cli.text import measured, percent
from experiments.stats.intervals import interval
from experiments.stats.pareto import front
from experiments.study.finals import Finalist
from experiments.tracking.store import Store

ENOUGH = 10  # trials, below which no importance can be told


def accuracy(trial: FrozenTrial) -> float:
    """Of the last epoch, on the images held out, 0 to 1."""
    return trial.user_attrs["val_acc"]


def complete(study: Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def counts(study: Study) -> dict[str, int]:
    """How many networks were tried: trained to the end or stopped early; and how many
    proposals were over budget and cost nothing."""
    trials = study.get_trials(deepcopy=False)
    return {
        "tried": len(trials),
        "trained": sum(trial.state == TrialState.COMPLETE for trial in trials),
        "stopped_early": sum(trial.state == TrialState.PRUNED for trial in trials),
        "rejected": sum(trial.user_attrs.get("rejected", 0) for trial in trials),
    }


def in_words(study: Study) -> str:
    """The counts, so that nobody takes the best of many for a mean."""
    count = counts(study)
    return (
        f"{count['tried']:,} networks tried: {count['trained']:,} trained to the end, "
        f"{count['stopped_early']:,} stopped early; "
        f"{count['rejected']:,} proposals rejected before training"
    )


def pareto(study: Study, finalists: list[Finalist]) -> Figure:
    """Accuracy against parameters, with the front, and the finalists by their means."""
    trials = [trial for trial in complete(study) if accuracy(trial) > 0]
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    points = [(trial.user_attrs["parameters"], accuracy(trial) * 100) for trial in trials]
    for some, style in (
        (points, {"marker": ".", "linestyle": "", "color": "tab:gray", "label": "trials"}),
        (
            front(points),
            {"marker": "o", "drawstyle": "steps-post", "label": "none smaller is better"},
        ),
    ):
        axes.plot([size for size, _ in some], [value for _, value in some], **style)
    if finalists:
        sizes = [finalist.trial.user_attrs["parameters"] for finalist in finalists]
        means = [finalist.mean * 100 for finalist in finalists]
        label = "finalists, in full, on test images: mean"
        axes.plot(sizes, means, marker="*", markersize=12, linestyle="", label=label)
    means = [finalist.mean * 100 for finalist in finalists]
    focus(axes, [*(accuracy(trial) * 100 for trial in trials), *means])
    axes.set(xlabel="parameters", ylabel="accuracy, %, last epoch")
    axes.set_title(f"{len(trials)} trials on images held out; the worst fifth is not shown")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def history(study: Study) -> Figure:
    """Accuracy of each trial in its turn, and the best so far."""
    trials = [trial for trial in complete(study) if accuracy(trial) > 0]
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    numbers, values = [t.number for t in trials], [accuracy(t) * 100 for t in trials]
    axes.plot(numbers, values, marker=".", linestyle="", color="tab:gray", label="trials")
    axes.plot(numbers, list(accumulate(values, max)), drawstyle="steps-post", label="best so far")
    focus(axes, values)
    axes.set(xlabel="trial", ylabel="accuracy, %, last epoch", title=in_words(study))
    axes.title.set_fontsize(9)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def importance(study: Study) -> Figure:
    """How much of what sets the best tenth of the trials apart is due to each key (Watanabe,
    Bansal and Hutter, "PED-ANOVA", 2023)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it looks at low values: it shall
        shares = optuna.importance.get_param_importances(
            study,
            evaluator=optuna.importance.PedAnovaImportanceEvaluator(),
            target=lambda trial: 1 - accuracy(trial),
        )
    figure = Figure(figsize=(8, 0.3 * len(shares) + 1), layout="constrained")
    axes = figure.subplots()
    axes.barh(list(shares), [share * 100 for share in shares.values()])
    axes.invert_yaxis()
    axes.set(xlabel="importance, %", title="what sets the best trials apart")
    axes.grid(alpha=0.3, axis="x")
    return figure


def focus(axes: Axes, accuracies: list[float]) -> None:
    """Leave the worst fifth out of sight: failures would squeeze the rest."""
    if accuracies:
        low, high = sorted(accuracies)[len(accuracies) // 5], max(accuracies)
        margin = 0.1 * (high - low) + 0.01
        axes.set_ylim(low - margin, high + margin)


def pictures(study: Study, finalists: list[Finalist]) -> dict[str, Figure]:
    """By name: history, pareto, and importance where there are trials enough."""
    trials = complete(study)
    if not trials:
        return {}
    drawn = {"history": history(study), "pareto": pareto(study, finalists)}
    if len(trials) >= ENOUGH and len({accuracy(trial) for trial in trials}) > 1:
        drawn["importance"] = importance(study)
    return drawn


def as_csv(study: Study) -> str:
    """A row for each trial: number, state, parameters, accuracy, MLflow run, all values."""
    text = io.StringIO()
    trials = study.get_trials(deepcopy=False)
    names = sorted({name for trial in trials for name in trial.params})
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["trial", "state", "parameters", "val_acc", "run", *names])
    for trial in trials:
        known = (trial.user_attrs.get(key, "") for key in ("parameters", "val_acc", "run"))
        values = (trial.params.get(name, "") for name in names)
        table.writerow([trial.number, trial.state.name.lower(), *known, *values])
    return text.getvalue()


def log_study(study: Study, store: Store, parent: str, finalists: list[Finalist]) -> None:
    """Attach figures, pictures and the table of trials to the study's MLflow run."""
    with tempfile.TemporaryDirectory() as temporary:
        for name, figure in pictures(study, finalists).items():
            figure.savefig(Path(temporary, f"{name}.png"), dpi=120)
        Path(temporary, "trials.csv").write_text(as_csv(study), encoding="utf-8")
        if finalists:
            Path(temporary, "finalists.txt").write_text(report(study, finalists), encoding="utf-8")
        store.patiently(store.client.log_artifacts, parent, temporary)
    figures = {f"trials/{name}": count for name, count in counts(study).items()}
    if complete(study):
        figures["trials/best_val_acc"] = max(map(accuracy, complete(study)))
    if finalists:
        figures["final/test_acc_mean"] = finalists[0].mean
        figures["final/parameters"] = finalists[0].trial.user_attrs["parameters"]
    for name, value in figures.items():
        store.patiently(store.client.log_metric, parent, name, value)
    store.patiently(store.client.set_terminated, parent)


def report(study: Study, finalists: list[Finalist]) -> str:
    """The finalists as a table, the best first, and of how many they are the best."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("step", "parameters", "as a trial", "seeds", "mean, 95 % interval"):
        table.add_column(column, justify="left" if column == "step" else "right")
    table.add_column("lowest to highest", justify="right")
    for finalist in finalists:
        values = finalist.finished
        known = measured(interval(values)) if values else ""
        diverged = len(finalist.accuracies) - len(values)
        table.add_row(
            finalist.step,
            f"{finalist.trial.user_attrs['parameters']:,}",
            percent(accuracy(finalist.trial)),
            f"{len(values)}" + (f", {diverged} diverged" if diverged else ""),
            known,
            f"{min(values) * 100:.2f} to {max(values) * 100:.2f}" if values else "",
        )
    console = Console(width=110, highlight=False)
    with console.capture() as text:
        console.print(table)
    return (
        f"{in_words(study)}\n{text.get()}"
        f"the winner is the best of {len(finalists)} finalists on the test images, so its mean "
        "flatters it a little;\nother seeds tell more: python -m experiments.train -m "
        f"step={finalists[0].step} 'seed=range(100,110)'"
    )
