"""The figures of a report: arms beside each other, with what is not known drawn in."""

import base64
import io
import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator

from experiments.reports.comparison import Row
from experiments.stats.intervals import interval
from experiments.stats.pareto import front
from experiments.stats.verdict import BETTER, WORSE

BLUE, GREY, ORANGE, GREEN, RED = "#1f5fa8", "#9aa3ad", "#d97706", "#15803d", "#b91c1c"
STYLE = {
    "svg.fonttype": "none",  # text stays text
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
}

COLUMNS = 5  # learning curves side by side
NAMED = 25  # points in a figure that can have their names beside them


def data_uri(figure: Figure) -> str:
    """A figure as an image that is part of the page."""
    svg = io.BytesIO()
    with rc_context(STYLE):
        figure.savefig(svg, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(svg.getvalue()).decode()


def ladder(rows: Sequence[Row]) -> Figure:
    """Accuracy of each arm in percent: runs, the mean with its interval, what was published."""
    with rc_context(STYLE):
        figure = Figure(figsize=(max(7, 0.75 * len(rows) + 1), 4.6), layout="constrained")
        axes = figure.subplots()
        for x, row in enumerate(rows):
            verdict = row.difference.verdict if row.difference else None
            colour = {BETTER: GREEN, WORSE: RED}.get(verdict, BLUE)
            runs = 100 * np.array(row.arm.values)
            axes.plot(np.full(len(runs), x + 0.12), runs, ".", color=GREY, markersize=4)
            _mean(axes, x, row, colour)
            for figures, marker in ((row.arm.published_best, "D"), (row.arm.published_last, "o")):
                if figures is not None:
                    axes.plot(x - 0.2, 100 * figures, marker, mfc="none", mec=ORANGE, markersize=5)
            if row.arm.target is not None:
                axes.hlines(100 * row.arm.target, x - 0.4, x + 0.4, color="#444", lw=0.8, ls=":")
        legend = {
            "mean, 95 % interval": {"marker": "o", "color": BLUE, "lw": 1.5},
            "better than what it is held against": {"marker": "o", "color": GREEN, "lw": 1.5},
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
        _focus(axes, rows)
        axes.grid(axis="y", alpha=0.3)
    return figure


def pareto(rows: Sequence[Row]) -> Figure | None:
    """Accuracy in percent against parameters, with the front that no arm beats in both.

    None where no arm has a parameter count.
    """
    rows = [row for row in rows if row.arm.parameters]
    if not rows:
        return None
    with rc_context(STYLE):
        figure = Figure(figsize=(10, 4.6), layout="constrained")
        axes = figure.subplots()
        best = front([(row.arm.parameters, row.accuracy.mean) for row in rows])
        columns: dict[int, list[Row]] = {}
        for row in sorted(rows, key=lambda row: -row.accuracy.mean):
            columns.setdefault(row.arm.parameters, []).append(row)
        for parameters, column in columns.items():
            for place, row in enumerate(column):
                on = (parameters, row.accuracy.mean) in best
                beside = parameters * (1 + 0.008 * place)  # so that their intervals can be seen
                _mean(axes, beside, row, BLUE if on else GREY)
            if len(rows) <= NAMED:
                first, *others = (row.arm.name for row in column)
                text = ", ".join([first, *(name.removeprefix("step ") for name in others)])
                top = (parameters, 100 * column[0].accuracy.mean)
                axes.annotate(text, top, (6, 5), textcoords="offset points", fontsize=8)
        xs, ys = zip(*best, strict=True)
        axes.plot(xs, [100 * y for y in ys], drawstyle="steps-post", color=BLUE, lw=1, alpha=0.6)
        axes.set(xscale="log", xlabel="parameters", ylabel="accuracy, %")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.xaxis.set_minor_locator(LogLocator(subs=(2, 3, 4, 6, 8)))
        axes.xaxis.set_minor_formatter(lambda value, _: f"{value:,.0f}")
        _focus(axes, rows)
        axes.grid(alpha=0.3)
    return figure


def curves(histories: Mapping[str, Sequence[Sequence[float]]]) -> Figure:
    """Accuracy by epoch, a small figure for each arm: the mean of its runs, and their range.

    Args:
        histories: of each arm by name, for each run the accuracy (0 to 1) of each epoch.
    """
    rows = math.ceil(len(histories) / COLUMNS)
    columns = min(COLUMNS, len(histories))
    with rc_context(STYLE):
        figure = Figure(figsize=(2.2 * columns + 0.6, 1.9 * rows + 0.4), layout="constrained")
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flatten()
        means = {}
        for axes, (name, runs) in zip(grid, histories.items(), strict=False):
            length = min(map(len, runs))
            values = 100 * np.array([run[:length] for run in runs])
            epochs = np.arange(1, length + 1)
            means[name] = epochs, values.mean(0)
            axes.fill_between(epochs, values.min(0), values.max(0), color=BLUE, alpha=0.25, lw=0)
            axes.set_title(f"{name} (n = {len(runs)})", fontsize=9)
            axes.grid(alpha=0.3)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
        for axes, name in zip(grid, means, strict=False):
            for other, (epochs, mean) in means.items():
                mine = other == name
                axes.plot(epochs, mean, color=BLUE if mine else GREY, lw=1.4 if mine else 0.4)
        for axes in grid[len(means) :]:
            axes.set_visible(False)
        ends = [mean[-1] for _, mean in means.values()]
        starts = [mean[min(1, len(mean) - 1)] for _, mean in means.values()]
        grid[0].set_ylim(min(starts) - 0.1, max(ends) + 0.15)
        figure.supylabel("accuracy, %", fontsize=9)
        figure.supxlabel("epoch", fontsize=9)
    return figure


def digits(images: np.ndarray, captions: Sequence[str]) -> Figure:
    """Images, uint8 [N, H, W], with a caption above each."""
    columns = 10
    rows = math.ceil(len(images) / columns)
    with rc_context(STYLE):
        figure = Figure(figsize=(10, 1.35 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False).flatten()
        for axes in grid:
            axes.axis("off")
        for axes, image, caption in zip(grid, images, captions, strict=False):
            axes.imshow(255 - image, cmap="gray", vmin=0, vmax=255)
            axes.set_title(caption, fontsize=8)
    return figure


def _mean(axes: Axes, x: float, row: Row, colour: str) -> None:
    """The mean of an arm with its interval, if that has ends."""
    found = row.accuracy
    ends = [[100 * (found.mean - found.low)], [100 * (found.high - found.mean)]]
    known = not math.isinf(found.low)
    axes.errorbar(
        x, 100 * found.mean, ends if known else None, fmt="o", color=colour, ms=5, capsize=3, lw=1.5
    )


def _focus(axes: Axes, rows: Sequence[Row]) -> None:
    """Limit the axis of accuracies to where the runs are, however wide an interval of two is."""
    values = [100 * value for row in rows for value in row.arm.values]
    values += [100 * v for row in rows for v in (row.arm.published_best, row.arm.target) if v]
    margin = max(max(values) - min(values), 0.1) * 0.25
    low, high = axes.get_ylim()
    ends = [interval(row.arm.values) for row in rows if row.accuracy.n > 2]
    floor = min([min(values) - margin, *(100 * found.low for found in ends)])
    ceiling = max([max(values) + margin, *(100 * found.high for found in ends)])
    axes.set_ylim(max(low, floor - margin / 5), min(high, ceiling + margin / 5, 100.02))
