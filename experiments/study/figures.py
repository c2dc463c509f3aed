"""The figures of a search: its trials in turn, their Pareto front, the importance of each key."""

import warnings
from collections.abc import Sequence
from itertools import accumulate

import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from experiments.reports import charts
from experiments.stats.intervals import interval
from experiments.study.finals import Finalist

ENOUGH = 10  # trials; importance says nothing with fewer


def accuracy(trial: FrozenTrial) -> float:
    """Of the last epoch, on the images held out, 0 to 1."""
    return trial.user_attrs["val_acc"]


def complete(study: Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def figures(study: Study, finalists: Sequence[Finalist]) -> dict[str, Figure]:
    """By name: history, pareto, and importance if there are enough trials."""
    trials = complete(study)
    trained = [trial for trial in trials if accuracy(trial) > 0]  # the others diverged
    if not trained:
        return {}
    drawn = {"history": history(trained), "pareto": pareto(trained, finalists)}
    if len(trials) >= ENOUGH and len({accuracy(trial) for trial in trials}) > 1:
        drawn["importance"] = importance(study)
    return drawn


def pareto(trials: Sequence[FrozenTrial], finalists: Sequence[Finalist]) -> Figure:
    """Accuracy against parameters with the Pareto front; finalists by their means."""
    points = [
        charts.Point(trial.user_attrs["parameters"], interval([accuracy(trial)]))
        for trial in trials
    ]
    stars = [
        charts.Point(finalist.trial.user_attrs["parameters"], interval(finalist.finished))
        for finalist in finalists
        if finalist.finished
    ]
    title = f"{len(trials)} trials on images held out; the worst fifth is not shown"
    if stars:
        title += "; stars: means of finalists on test images"
    figure = charts.pareto(points, stars, title)
    focus(figure.axes[0], [point.accuracy.mean for point in (*points, *stars)])
    return figure


def history(trials: Sequence[FrozenTrial]) -> Figure:
    """Accuracy of each trial in turn, and the best so far."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    numbers, values = [t.number for t in trials], [accuracy(t) * 100 for t in trials]
    axes.plot(numbers, values, marker=".", linestyle="", color="tab:gray", label="trials")
    axes.plot(numbers, list(accumulate(values, max)), drawstyle="steps-post", label="best so far")
    focus(axes, [accuracy(trial) for trial in trials])
    title = f"{len(trials)} trials trained to the end; the worst fifth is not shown"
    axes.set(xlabel="trial", ylabel="accuracy, %, last epoch", title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def importance(study: Study) -> Figure:
    """How much each key contributes to a trial being among the best tenth.

    By PED-ANOVA (Watanabe, Bansal and Hutter, "PED-ANOVA", 2023).
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # low values are the best here, as intended
        shares = optuna.importance.get_param_importances(
            study,
            evaluator=optuna.importance.PedAnovaImportanceEvaluator(),
            target=lambda trial: 1 - accuracy(trial),
        )
    figure = Figure(figsize=(8, 0.3 * len(shares) + 1), layout="constrained")
    axes = figure.subplots()
    axes.barh(list(shares), [share * 100 for share in shares.values()])
    axes.invert_yaxis()
    axes.set(xlabel="importance, %", title="what distinguishes the best trials")
    axes.grid(alpha=0.3, axis="x")
    return figure


def focus(axes: Axes, accuracies: Sequence[float]) -> None:
    """Leave the worst fifth out of sight: failures would squeeze the rest."""
    values = sorted(100 * value for value in accuracies)
    low, high = values[len(values) // 5], values[-1]
    margin = 0.1 * (high - low) + 0.01
    axes.set_ylim(low - margin, high + margin)
