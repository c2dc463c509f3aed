"""The charts of reports, drawn by Vega as SVG or PNG: of arms, of sizes, of learning curves."""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import altair as alt
import pandas as pd
import vl_convert
from markupsafe import Markup

from experiments.cli import text
from experiments.reports.comparison import Row
from experiments.stats.intervals import Interval
from experiments.stats.verdict import BETTER, WORSE

COLOURS = {  # light, and dark
    "ink": ("#1b2430", "#e6e9ee"),
    "muted": ("#566170", "#a3adba"),
    "line": ("#dde2e8", "#343c47"),
    "paper": ("#ffffff", "#14181e"),
    "blue": ("#1f5fa8", "#6fa8e8"),
    "better": ("#15803d", "#4cc27a"),
    "worse": ("#b91c1c", "#f28b82"),
    "orange": ("#b45309", "#f0a95a"),
}
BAR = "M-0.12,-1H0.12V1H-0.12Z"
CROSS = "M-1,-.6L-.6,-1L0,-.4L.6,-1L1,-.6L.4,0L1,.6L.6,1L0,.4L-.6,1L-1,.6L-.4,0Z"
MEAN, RUN, TARGET = "mean: cannot tell, or not compared", "one run", "target"
LAST, BEST = "published, last epoch", "published, best epoch"
ARMS = {  # what a point is: its colour, its shape, and its area in pixels
    BETTER: ("better", "triangle-up", 100),
    WORSE: ("worse", "triangle-down", 100),
    MEAN: ("blue", "circle", 70),
    RUN: ("muted", "circle", 18),
    LAST: ("orange", "square", 26),
    BEST: ("orange", "diamond", 26),
    TARGET: ("ink", BAR, 130),
}
NETWORK, FRONT, FINALIST = "network", "Pareto front", "finalist"
SIZES = {
    NETWORK: ("muted", "circle", 45),
    FRONT: ("blue", "circle", 80),
    FINALIST: ("orange", CROSS, 90),
}
BLUE = "var(--blue)"
FONT = 14.5  # pixels that a label has room for; pages draw 12, as fonts differ in width
AROUND = ["right", "left", "top", "bottom", "top-right", "bottom-right", "top-left", "bottom-left"]
FIT = alt.AutoSizeParams(type="fit-x", contains="padding")
PHONE = 600  # pixels; narrower pages have less side by side

Chart = alt.LayerChart | alt.FacetChart


class Point(NamedTuple):
    """A network in the Pareto chart: its parameters, its accuracy, 0 to 1, and its page."""

    parameters: int
    accuracy: Interval
    name: str = ""
    url: str = ""


def svg(chart: Chart, name: str) -> Markup:
    """A chart for a page that has COLOURS as CSS variables; `name` is unique on that page."""
    drawn = vl_convert.vega_to_svg(_vega(chart))
    drawn = re.sub(r'<text [^>]*opacity="0"[^>]*>[^<]*</text>', "", drawn)  # there was no room
    return Markup(re.sub(r"clip(?=\d)", f"{name}-clip", drawn))


def png(chart: Chart) -> bytes:
    """A chart as a picture, in the light colours."""
    drawn = json.dumps(_vega(chart))
    return vl_convert.vega_to_png(re.sub(r"var\(--(\w+)\)", lambda c: COLOURS[c[1]][0], drawn), 1.5)


def ladder(rows: Sequence[Row], width: int, url: Callable[[str], str]) -> Chart:
    """Accuracy of each arm: its runs, the mean with its interval, target and published figures.

    Args:
        width: of the chart in pixels.
        url: where MLflow shows the run of an id.
    """
    points, intervals = [], []
    for row in rows:
        arm, found, kind = row.arm, row.accuracy, MEAN
        words = f"{text.measured(found)}, n = {found.n}"
        if row.difference:
            verdict = row.difference.verdict
            kind = verdict if verdict in ARMS else MEAN
            words += f"; {verdict}, {text.points(row.difference)} against {row.against}"
        link = {"url": url(arm.parent)} if arm.parent else {}
        points.append(_point(kind, arm.name, found.mean, words, lane="1", **link))
        if found.n > 2 and math.isfinite(found.low):  # those of two runs would squeeze the others
            ends = {"low": 100 * found.low, "high": 100 * min(found.high, 1)}
            intervals.append({"name": arm.name, "kind": kind, "lane": "1", **ends})
        for (seed, score), run in zip(arm.scores.items(), arm.runs, strict=True):
            words = f"seed {seed}, {text.percent(score)}"
            points.append(_point(RUN, arm.name, score, words, lane="2", url=url(run)))
        given = {TARGET: arm.target, LAST: arm.published_last, BEST: arm.published_best}
        for kind, score in given.items():
            if score is not None:
                words = f"{kind}, {text.percent(score)}"
                points.append(_point(kind, arm.name, score, words, lane="0"))
    lines = max(row.arm.name.count(", ") for row in rows) + 1
    lanes = {"grid": True, "tickBand": "extent", "ticks": False, "labelOverlap": False}
    axis = alt.Axis(labelExpr="split(datum.label, ', ')", labelLimit=0.4 * width, **lanes)
    y = alt.Y("name:N", sort=None, title=None, axis=axis)
    symbols = _symbols(points, ARMS, width).encode(_accuracy(alt.X, "value"), y)
    rules = alt.Chart(alt.Data(values=intervals)).mark_rule(strokeWidth=2, aria=False)
    rules = rules.encode(_accuracy(alt.X, "low"), alt.X2("high:Q"), y, symbols.encoding.color)
    chart = alt.layer(rules, symbols).encode(yOffset=alt.YOffset("lane:N"))
    height = alt.Step(max(36, 18 * lines), **{"for": "position"})
    return chart.properties(width=width, height=height, autosize=FIT)


def pareto(
    points: Sequence[Point], width: int, stars: Sequence[Point] = (), title: str = ""
) -> Chart:
    """Accuracy against parameters, with the front that no other point beats in both.

    Args:
        points: at least one.
        stars: points to show beside them, which take no part in the front.
    """
    best, data = -math.inf, []
    for point in sorted(points, key=lambda point: (point.parameters, -point.accuracy.mean)):
        data.append((FRONT if point.accuracy.mean > best else NETWORK, point))
        best = max(best, point.accuracy.mean)
    data.sort(key=lambda each: each[0] != FRONT)  # these get their labels first
    data = [
        _point(
            kind, name, found.mean, f"{size:,} parameters, {text.measured(found)}", url, size=size
        )
        for kind, (size, found, name, url) in [*data, *((FINALIST, star) for star in stars)]
    ]
    x = alt.X("size:Q", title="parameters", axis=alt.Axis(format=","))
    x = x.scale(type="log", nice=False, padding=24)
    y = _accuracy(alt.Y, "value")
    symbols = _symbols(data, SIZES, width).encode(x, y)
    front = alt.Data(values=[each for each in data if each["kind"] == FRONT])
    line = alt.Chart(front).mark_line(interpolate="step-after", strokeWidth=1, aria=False)
    line = line.encode(x, y, symbols.encoding.color)
    names = alt.Chart(front if width < PHONE else alt.Data(values=data))
    names = names.mark_text(aria=False).encode(x, y, text="name:N")
    return alt.layer(line, symbols, names, title=title).properties(
        width=width, height=330, autosize=FIT
    )


def curves(histories: Mapping[str, pd.DataFrame], width: int, url: Callable[[str], str]) -> Chart:
    """Accuracy by epoch, a small chart for each arm: its runs, and their mean and range.

    Args:
        histories: by the name of an arm, accuracies (0 to 1): a row for each epoch, from 1 on,
            and a column for each run, named (seed, id).
    """
    data = []
    for name, runs in histories.items():
        for (seed, run), scores in runs.items():
            for epoch, score in scores.items():
                words = f"seed {seed}, epoch {epoch}, {text.percent(score)}"
                data.append(_point(RUN, name, score, words, epoch=epoch, run=run, url=url(run)))
            data[-1]["last"] = True
    means = pd.DataFrame({name: runs.mean(axis=1) for name, runs in histories.items()})
    later = means if len(means) == 1 else means.iloc[1:]  # the first is far below the others
    low, high = 100 * later.min().min() - 0.1, min(100, 100 * means.max().max() + 0.15)
    columns = min(len(histories), 2 if width < PHONE else 5)
    every = math.ceil(len(means) / 4)
    axis = alt.Axis(values=[*range(every, len(means) + 1, every)], format="d")
    epochs = alt.X("epoch:Q", title=None, axis=axis).scale(zero=False, nice=False, padding=6)
    base = alt.Chart().encode(epochs)
    y = _accuracy(alt.Y, "value").scale(domain=(low, high)).title(None)
    area = base.mark_area(opacity=0.25, color=BLUE, clip=True, aria=False)
    line = base.mark_line(color=BLUE, clip=True, aria=False)
    last = base.transform_filter("datum.last").mark_circle(size=30, color=BLUE, opacity=1)
    chart = alt.layer(
        area.encode(y.aggregate("min"), alt.Y2("max(value):Q")),
        line.encode(y.aggregate("mean")),
        last.encode(y, href="url:N", description="text:N"),
        data=alt.Data(values=data),
    ).properties(width=(width - 70) / columns - 14, height=110)
    header = alt.Header(labelExpr="split(datum.label, ', ')", labelLimit=width / columns)
    facet = alt.Facet("name:N", sort=list(histories), title=None, header=header)
    return chart.facet(facet, columns=columns, spacing=14)


def _point(
    kind: str, name: str, accuracy: float, words: str, url: str = "", **others: Any
) -> dict[str, Any]:
    """The data of a point; `words` are shown where one points at it."""
    shown = {"kind": kind, "name": name, "text": f"{name}: {words}" if name else words}
    return {**shown, "value": 100 * accuracy, "url": url, **others}


def _symbols(data: list[dict], kinds: Mapping[str, tuple], width: int) -> alt.Chart:
    """Points that look like their kind, with a legend, and lead to where MLflow shows them."""
    data = [each | {"area": kinds[each["kind"]][2]} for each in data]
    used = [kind for kind in kinds if any(each["kind"] == kind for each in data)]
    colours = [f"var(--{kinds[kind][0]})" for kind in used]
    shapes = [kinds[kind][1] for kind in used]
    legend = alt.Legend(title=None, orient="top", columns=1 if width < PHONE else 4)
    marks = alt.Chart(alt.Data(values=data)).mark_point(filled=True, opacity=1)
    return marks.encode(
        alt.Color("kind:N", legend=legend).scale(domain=used, range=colours),
        alt.Shape("kind:N", legend=legend).scale(domain=used, range=shapes),
        alt.Size("area:Q", scale=None, legend=None),
        href="url:N",
        description="text:N",
    )


def _accuracy(channel: type, field: str) -> Any:
    return channel(f"{field}:Q", title="accuracy, %").scale(zero=False, padding=8)


def _vega(chart: Chart) -> dict[str, Any]:
    """The chart for Vega; of texts that would overlap only the first is drawn."""
    ink, muted, line = "var(--ink)", "var(--muted)", "var(--line)"
    label = {"labelColor": ink, "labelFontSize": FONT}
    lines = {"gridColor": line, "domainColor": line, "tickColor": line}
    title = {"titleColor": muted, "titleFontSize": FONT, "titleFontWeight": "normal"}
    spec = chart.configure(
        background="var(--paper)",
        axis={**label, **lines, **title, "labelOverlap": "greedy", "labelSeparation": 8},
        legend={**label, "labelLimit": 0, "symbolStrokeWidth": 0},
        header=label,
        title={"color": ink},
        view={"stroke": None},
        text={"color": ink, "fontSize": FONT},
    ).to_dict()
    vega = vl_convert.vegalite_to_vega(spec)
    for mark in vega["marks"]:
        if mark["type"] == "text":
            size = {"signal": "[width, height]"}
            mark["transform"] = [
                {"type": "label", "size": size, "anchor": AROUND, "offset": [5], "padding": 12}
            ]
    return vega
