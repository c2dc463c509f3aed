"""The charts of reports: accuracies of arms with their intervals, the Pareto front, curves."""

import base64
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from experiments.reports.comparison import Row
from experiments.stats.intervals import Interval
from experiments.stats.verdict import BETTER, CANNOT_TELL, WORSE

BLUE, GREY, ORANGE, GREEN, RED = "#1f5fa8", "#9aa3ad", "#d97706", "#15803d", "#b91c1c"
VERDICTS = {  # the colour of a mean, and its label
    CANNOT_TELL: (BLUE, "mean, 95 % interval if three runs or more"),
    BETTER: (GREEN, "better than the arm it is compared with"),
    WORSE: (RED, "worse"),
}
PUBLISHED = (
    ("published_last", "o", "published, last epoch"),
    ("published_best", "D", "published, best epoch"),
)
styled = rc_context(
    {
        "svg.fonttype": "none",  # text stays text
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.3,
    }
)
COLUMNS = 5  # learning curves side by side
NAMED = 25  # points in a chart that can have their names beside them


class Point(NamedTuple):
    """A network in the Pareto chart: its parameters and its accuracy, 0 to 1."""

    parameters: int
    accuracy: Interval
    name: str = ""


@styled
def data_uri(figure: Figure) -> str:
    """A figure as an image inside an HTML page."""
    svg = io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(svg.getvalue()).decode()


@styled
def ladder(rows: Sequence[Row]) -> Figure:
    """Accuracy of each arm in percent: its runs, the mean with its interval, published figures."""
    figure = Figure(figsize=(max(7, 0.75 * len(rows) + 1), 4.6), layout="constrained")
    axes = figure.subplots()
    arms = pd.DataFrame([row.arm for row in rows])
    verdicts = [row.difference.verdict if row.difference else CANNOT_TELL for row in rows]
    for verdict, (colour, label) in VERDICTS.items():
        chosen = [x for x in arms.index if verdicts[x] == verdict]
        _means(axes, chosen, [rows[x].accuracy for x in chosen], colour, label)
    runs = arms.scores.map(dict.values).explode()
    axes.plot(runs.index + 0.12, 100 * runs, ".", color=GREY, markersize=4, label="one run")
    for column, marker, label in PUBLISHED:
        y = 100 * arms[column].astype(float)
        axes.plot(arms.index - 0.2, y, marker, mfc="none", mec=ORANGE, ms=5, label=label)
    targets = 100 * arms.target.astype(float)
    ends = arms.index - 0.4, arms.index + 0.4
    axes.hlines(targets, *ends, color="#444", lw=0.8, ls=":", label="target")
    figure.legend(fontsize=8, ncols=4, loc="outside upper center", frameon=False)
    axes.set_xticks(arms.index, arms.name, rotation=35, ha="right")
    axes.set_ylabel("accuracy, %")
    return figure


@styled
def pareto(points: Sequence[Point], stars: Sequence[Point] = (), title: str = "") -> Figure:
    """Accuracy in percent against parameters, with the front that no other point beats in both.

    Args:
        points: at least one. Those with names that have the same size stand a little apart.
        stars: points to show beside them, which take no part in the front.
    """
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    axes = figure.subplots()
    named = len(points) <= NAMED and all(point.name for point in points)
    table = pd.DataFrame(points).assign(mean=[100 * point.accuracy.mean for point in points])
    table = table.sort_values(["parameters", "mean"], ascending=[True, False])
    apart = 1 + 0.008 * named * table.groupby("parameters").cumcount()
    _means(axes, table.parameters * apart, table.accuracy, GREY)
    tops = table.drop_duplicates("parameters")
    front = tops[tops["mean"] > tops["mean"].cummax().shift(fill_value=-1)]
    _means(axes, front.parameters, front.accuracy, BLUE)
    line = {"drawstyle": "steps-post", "color": BLUE, "lw": 1, "alpha": 0.6}
    axes.plot(front.parameters, front["mean"], **line)
    for size, same in table.groupby("parameters") if named else ():
        first, *others = same["name"]
        text = ", ".join((first, *(name.removeprefix("step ") for name in others)))
        top = size, same["mean"].max()
        axes.annotate(text, top, (6, 5), textcoords="offset points", fontsize=8)
    for star in stars:
        axes.plot(star.parameters, 100 * star.accuracy.mean, "*", color=ORANGE, markersize=12)
    axes.set(xscale="log", xlabel="parameters", ylabel="accuracy, %", title=title)
    axes.xaxis.set_minor_locator(LogLocator(subs=(2, 3, 4, 6, 8)))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_formatter("{x:,.0f}")
    return figure


@styled
def curves(histories: Mapping[str, pd.DataFrame]) -> Figure:
    """Accuracy by epoch, a small chart for each arm: the mean of its runs, and their range.

    Args:
        histories: by the name of an arm, accuracies (0 to 1): a row for each epoch, from 1 on,
            and a column for each run. At least two epochs.
    """
    columns = min(COLUMNS, len(histories))
    rows = math.ceil(len(histories) / columns)
    figure = Figure(figsize=(2.2 * columns + 0.6, 1.9 * rows + 0.4), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
    means = pd.DataFrame({name: 100 * runs.mean(axis=1) for name, runs in histories.items()})
    for axes, (name, runs) in zip(grid, histories.items(), strict=False):
        axes.plot(means, color=GREY, lw=0.4)
        low, high = 100 * runs.min(axis=1), 100 * runs.max(axis=1)
        axes.fill_between(runs.index, low, high, color=BLUE, alpha=0.25, lw=0)
        axes.plot(means[name], color=BLUE, lw=1.4)
        axes.set_title(f"{name} (n = {runs.shape[1]})", fontsize=9)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    for axes in grid[len(histories) :]:
        axes.set_visible(False)
    # the first epoch is far below the others
    grid[0].set_ylim(means.iloc[1].min() - 0.1, means.max().max() + 0.15)
    figure.supylabel("accuracy, %", fontsize=9)
    figure.supxlabel("epoch", fontsize=9)
    return figure


def _means(
    axes: Axes, x: Iterable[float], found: Iterable[Interval], colour: str, label: str = ""
) -> None:
    """Draw means in percent with their intervals; those of two runs would squeeze the others."""
    mean, low, high, n = np.array(list(found)).reshape(-1, 4).T
    ends = np.where((n > 2) & np.isfinite(low), (mean - low, high - mean), np.nan)
    look = {"fmt": "o", "color": colour, "ms": 5, "capsize": 3, "lw": 1.5}
    axes.errorbar(x, 100 * mean, 100 * ends, **look, label=label)
