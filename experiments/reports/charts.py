"""The charts of reports: accuracies of arms with their intervals, the Pareto front, curves."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from experiments.stats.intervals import Interval
from experiments.stats.pareto import front

if TYPE_CHECKING:  # a search draws too, and needs no statsmodels
    from experiments.reports.comparison import Row

BLUE, GREY, ORANGE, GREEN, RED = "#1f5fa8", "#9aa3ad", "#d97706", "#15803d", "#b91c1c"
VERDICTS = {"better": GREEN, "worse": RED}
STYLE = {
    "svg.fonttype": "none",  # text stays text
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
}
COLUMNS = 5  # learning curves side by side
NAMED = 25  # points in a chart that can have their names beside them


class Point(NamedTuple):
    """A network in the Pareto chart: its parameters and its accuracy, 0 to 1."""

    parameters: int
    accuracy: Interval
    name: str = ""


def data_uri(figure: Figure) -> str:
    """A figure as an image inside an HTML page."""
    svg = io.BytesIO()
    with rc_context(STYLE):
        figure.savefig(svg, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(svg.getvalue()).decode()


def ladder(rows: Sequence[Row]) -> Figure:
    """Accuracy of each arm in percent: its runs, the mean with its interval, published figures."""
    with rc_context(STYLE):
        figure = Figure(figsize=(max(7, 0.75 * len(rows) + 1), 4.6), layout="constrained")
        axes = figure.subplots()
        values = []
        for x, (arm, accuracy, _, difference) in enumerate(rows):
            runs = 100 * np.array(arm.values)
            axes.plot(np.full(len(runs), x + 0.12), runs, ".", color=GREY, markersize=4)
            colour = VERDICTS.get(difference.verdict, BLUE) if difference else BLUE
            _mean(axes, x, accuracy, colour)
            for published, marker in ((arm.published_best, "D"), (arm.published_last, "o")):
                if published is not None:
                    y = 100 * published
                    axes.plot(x - 0.2, y, marker, mfc="none", mec=ORANGE, markersize=5)
            if arm.target is not None:
                axes.hlines(100 * arm.target, x - 0.4, x + 0.4, color="#444", lw=0.8, ls=":")
            values += [*arm.values, arm.published_best, arm.target]
        legend = {
            "mean, 95 % interval": {"marker": "o", "color": BLUE, "lw": 1.5},
            "better than the arm it is compared with": {"marker": "o", "color": GREEN, "lw": 1.5},
            "worse": {"marker": "o", "color": RED, "lw": 1.5},
            "one run": {"marker": ".", "color": GREY, "ls": ""},
            "published, last epoch": {"marker": "o", "mfc": "none", "mec": ORANGE, "ls": ""},
            "published, best epoch": {"marker": "D", "mfc": "none", "mec": ORANGE, "ls": ""},
            "target": {"color": "#444", "ls": ":", "lw": 0.8},
        }
        for label, look in legend.items():
            axes.plot([], [], label=label, **look)
        figure.legend(fontsize=8, ncols=4, loc="outside upper center", frameon=False)
        axes.set_xticks(range(len(rows)), [row.arm.name for row in rows], rotation=35, ha="right")
        axes.set_ylabel("accuracy, %")
        _focus(axes, filter(None, values), [row.accuracy for row in rows])
        axes.grid(axis="y", alpha=0.3)
    return figure


def pareto(points: Sequence[Point], stars: Sequence[Point] = (), title: str = "") -> Figure:
    """Accuracy in percent against parameters, with the front that no other point beats in both.

    Args:
        points: at least one. Those with names that have the same size stand a little apart.
        stars: points to show beside them, which take no part in the front.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=(10, 4.6), layout="constrained")
        axes = figure.subplots()
        best = front([(point.parameters, point.accuracy.mean) for point in points])
        columns: dict[int, list[Point]] = {}
        for point in sorted(points, key=lambda point: -point.accuracy.mean):
            column = columns.setdefault(point.parameters, [])
            x = point.parameters * (1 + 0.008 * len(column) * bool(point.name))
            on = (point.parameters, point.accuracy.mean) in best
            _mean(axes, x, point.accuracy, BLUE if on else GREY)
            column.append(point)
        for parameters, column in columns.items():
            first, *others = (point.name for point in column)
            if first and len(points) <= NAMED:
                text = ", ".join([first, *(name.removeprefix("step ") for name in others)])
                top = (parameters, 100 * column[0].accuracy.mean)
                axes.annotate(text, top, (6, 5), textcoords="offset points", fontsize=8)
        xs, ys = zip(*best, strict=True)
        axes.plot(xs, [100 * y for y in ys], drawstyle="steps-post", color=BLUE, lw=1, alpha=0.6)
        for star in stars:
            axes.plot(star.parameters, 100 * star.accuracy.mean, "*", color=ORANGE, markersize=12)
        axes.set(xscale="log", xlabel="parameters", ylabel="accuracy, %", title=title)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.xaxis.set_minor_locator(LogLocator(subs=(2, 3, 4, 6, 8)))
        axes.xaxis.set_minor_formatter(lambda value, _: f"{value:,.0f}")
        found = [point.accuracy for point in (*points, *stars)]
        _focus(axes, [one.mean for one in found], found)
        axes.grid(alpha=0.3)
    return figure


def curves(histories: Mapping[str, Sequence[Sequence[float]]]) -> Figure:
    """Accuracy by epoch, a small chart for each arm: the mean of its runs, and their range.

    Args:
        histories: of each arm by name, for each run the accuracy (0 to 1) of each epoch.
    """
    rows, columns = math.ceil(len(histories) / COLUMNS), min(COLUMNS, len(histories))
    accuracies = {}
    for name, runs in histories.items():
        epochs = min(map(len, runs))
        accuracies[name] = 100 * np.array([run[:epochs] for run in runs])
    means = [values.mean(0) for values in accuracies.values()]
    with rc_context(STYLE):
        figure = Figure(figsize=(2.2 * columns + 0.6, 1.9 * rows + 0.4), layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
        for axes, (name, values) in zip(grid, accuracies.items(), strict=False):
            for mean in means:
                axes.plot(range(1, len(mean) + 1), mean, color=GREY, lw=0.4)
            epochs = range(1, values.shape[1] + 1)
            axes.fill_between(epochs, values.min(0), values.max(0), color=BLUE, alpha=0.25, lw=0)
            axes.plot(epochs, values.mean(0), color=BLUE, lw=1.4)
            axes.set_title(f"{name} (n = {len(values)})", fontsize=9)
            axes.grid(alpha=0.3)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
        for axes in grid[len(means) :]:
            axes.set_visible(False)
        second = [mean[min(1, len(mean) - 1)] for mean in means]  # the first epoch is far below
        grid[0].set_ylim(min(second) - 0.1, max(mean[-1] for mean in means) + 0.15)
        figure.supylabel("accuracy, %", fontsize=9)
        figure.supxlabel("epoch", fontsize=9)
    return figure


def _mean(axes: Axes, x: float, accuracy: Interval, colour: str) -> None:
    """Draw a mean, and its interval if that is known."""
    mean, low, high, _ = accuracy
    ends = None if math.isinf(low) else [[100 * (mean - low)], [100 * (high - mean)]]
    axes.errorbar(x, 100 * mean, ends, fmt="o", color=colour, ms=5, capsize=3, lw=1.5)


def _focus(axes: Axes, accuracies: Iterable[float], intervals: Iterable[Interval]) -> None:
    """Limit the axis to the accuracies and their intervals; those of two seeds are too wide."""
    values = [100 * accuracy for accuracy in accuracies]
    margin = max(max(values) - min(values), 0.1) * 0.3
    known = [found for found in intervals if found.n > 2]
    floor = min([min(values) - margin, *(100 * found.low - margin / 5 for found in known)])
    ceiling = max([max(values) + margin, *(100 * found.high + margin / 5 for found in known)])
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, floor), min(high, ceiling, 100.02))
