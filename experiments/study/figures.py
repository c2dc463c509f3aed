"""The figures of a search: the frontier, and the importance of each key."""

from pathlib import Path

from matplotlib import pyplot, rc_context
from optuna import Study
from optuna.visualization.matplotlib import plot_param_importances

from experiments.reports import charts
from experiments.stats.intervals import interval
from experiments.study.proposals import Found
from experiments.study.race import FINAL, FULL

ENOUGH = 10  # trials; importance says nothing with fewer


def draw(study: Study, found: Found, folder: Path) -> None:
    """Draw pareto.png, and importance.png if there are enough trials."""
    points = {
        stage: [
            charts.Point(network.parameters, interval(values))
            for number, network in enumerate(found.networks)
            if (values := found.accuracies(number, stage))
        ]
        for stage in (FULL, FINAL)
    }
    if points[FULL]:
        title = "full runs on images held out; stars: finalists on test images"
        drawing = charts.pareto(points[FULL], 900, points[FINAL], title)
        (folder / "pareto.png").write_bytes(charts.png(drawing))
    scores = [
        one.value for one in found.trials if one.value and one.value > 0
    ]  # the others diverged
    if len(scores) >= ENOUGH and len(set(scores)) > 1:
        pyplot.switch_backend("agg")
        with rc_context():  # Optuna changes the style
            figure = plot_param_importances(study, target_name="score").figure
            figure.savefig(folder / "importance.png", dpi=120, bbox_inches="tight")
            pyplot.close(figure)
