"""The figures of a search: its trials in turn, their Pareto front, the importance of each key."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib import pyplot, rc_context
from optuna import Study
from optuna.visualization.matplotlib import plot_optimization_history, plot_param_importances
from pandas import DataFrame

from experiments.reports import charts
from experiments.stats.intervals import interval
from experiments.study.finals import Finalist

ENOUGH = 10  # trials; importance says nothing with fewer


def draw(study: Study, trained: DataFrame, finalists: Sequence[Finalist], folder: Path) -> None:
    """Draw history.png and pareto.png, and importance.png if there are enough trials.

    Args:
        trained: parameters, val_acc and value of the trials that were trained to the end.
    """
    good = trained[trained.val_acc > 0]  # the others diverged
    if good.empty:
        return
    good = good[good.val_acc >= good.val_acc.quantile(0.2)]  # failures would squeeze the rest
    points = [
        charts.Point(parameters, interval([accuracy]))
        for parameters, accuracy in zip(good.parameters, good.val_acc, strict=True)
    ]
    stars = [
        charts.Point(one.trial.user_attrs["parameters"], interval(one.accuracies))
        for one in finalists
        if one.accuracies
    ]
    title = "trials on images held out, but for the worst fifth"
    if stars:
        title += "; stars: means of finalists on test images"
    (folder / "pareto.png").write_bytes(charts.png(charts.pareto(points, 900, stars, title)))
    pyplot.switch_backend("agg")
    with rc_context():  # Optuna changes the style
        figures = {"history": plot_optimization_history(study, target_name="score")}
        figures["history"].set_ylim(bottom=good.value.min() - 0.001)
        if len(trained) >= ENOUGH and trained.val_acc.nunique() > 1:
            figures["importance"] = plot_param_importances(study, target_name="score")
        for name, axes in figures.items():
            axes.figure.savefig(folder / f"{name}.png", dpi=120, bbox_inches="tight")
        pyplot.close("all")
