"""The charts of reports, drawn by Vega from charts.yaml: of arms, of sizes, of learning curves."""

import copy
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import vl_convert
import yaml
from markupsafe import Markup

from experiments.cli.text import measured, percent, points
from experiments.reports.comparison import Row
from experiments.stats.intervals import Interval
from experiments.stats.target import CANNOT_TELL

MEAN, RUN = "mean: no verdict", "one run"
NETWORK, FRONT = "network", "Pareto front"
NAMED = 40  # networks that have their names beside them
NARROW = 600  # pixels; narrower charts have less side by side

Chart = dict[str, Any]  # for Vega-Lite


class Point(NamedTuple):
    """A network in the Pareto chart: its parameters, its accuracy, 0 to 1, and its page."""

    parameters: int
    accuracy: Interval
    name: str = ""
    url: str = ""


@cache
def definitions() -> dict[str, Any]:
    """What charts.yaml has: charts by their names, colours (light, and dark) by theirs."""
    return yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))


def svg(chart: Chart, name: str) -> Markup:
    """A chart for a page that has our colours as CSS variables; `name` is unique on that page."""
    drawn = vl_convert.vega_to_svg(_vega(chart))
    drawn = re.sub(r'<text [^>]*opacity="0"[^>]*>[^<]*</text>', "", drawn)  # there was no room
    return Markup(re.sub(r'(?<=[#"])clip(?=\d)', f"{name}-clip", drawn))


def png(chart: Chart) -> bytes:
    """A chart as a picture, in the light colours."""
    drawn, colours = json.dumps(_vega(chart)), definitions()["colours"]
    return vl_convert.vega_to_png(re.sub(r"var\(--(\w+)\)", lambda c: colours[c[1]][0], drawn), 1.5)


def ladder(rows: Sequence[Row], width: int, url: Callable[[str], str]) -> Chart:
    """Accuracy of each arm: its runs, the mean with its interval, target and published figures.

    `width` is in pixels; `url` tells where MLflow shows the run of an id.
    """
    data, intervals = [], []
    for row in rows:
        arm, found, kind = row.arm, row.accuracy, MEAN
        words = f"{measured(found)}, n = {found.n}"
        if row.difference:
            verdict = row.difference.verdict
            kind = MEAN if verdict == CANNOT_TELL else verdict
            words += f"; {verdict}, {points(row.difference)} against {row.against}"
        page = url(arm.parent) if arm.parent else ""
        mean = _point(kind, arm.name, found.mean, words, lane="mean", url=page)
        data.append(mean)
        intervals += _interval(mean, found)
        for (seed, score), run in zip(arm.scores.items(), arm.runs, strict=True):
            words = f"seed {seed}, {percent(score)}"
            data.append(_point(RUN, arm.name, score, words, lane="run", url=url(run)))
        given = {"target": arm.target, "published, last epoch": arm.published_last}
        for kind, score in (given | {"published, best epoch": arm.published_best}).items():
            if score is not None:
                words = f"{kind}, {percent(score)}"
                data.append(_point(kind, arm.name, score, words, lane="given"))
    chart = _chart("ladder", width, points=data, intervals=intervals)
    chart["encoding"]["y"]["sort"] = [row.arm.name for row in rows]  # some have no interval
    lines = max(row.arm.name.count(", ") for row in rows) + 1
    chart["height"]["step"] = max(36, 14 * (2 * lines - 1))  # a label goes down from its middle
    return chart


def pareto(networks: Iterable[Point], width: int, stars: Sequence[Point] = ()) -> Chart:
    """Accuracy against parameters, with intervals from three seeds on, and the front that no other
    point beats in both.

    There is at least one network; `stars` are finalists, which take no part in the front.
    """
    best, found = -math.inf, []
    for point in sorted(networks, key=lambda point: (point.parameters, -point.accuracy.mean)):
        found.append((FRONT if point.accuracy.mean > best else NETWORK, point))
        best = max(best, point.accuracy.mean)
    found.sort(key=lambda each: each[0] != FRONT)  # these first, while there is room for names
    named = width >= NARROW and len(found) <= NAMED
    data, intervals = [], []
    for kind, (size, each, name, url) in [*found, *(("finalist", star) for star in stars)]:
        words = f"{size:,} parameters, {measured(each)}"
        point = _point(kind, name, each.mean, words, size=size, url=url)
        data.append(point | {"label": name if named or kind == FRONT else ""})
        intervals += _interval(point, each)
    return _chart("pareto", width, points=data, intervals=intervals)


def curves(histories: Mapping[str, pd.DataFrame], width: int, url: Callable[[str], str]) -> Chart:
    """Accuracy by epoch, a small chart for each arm: its runs, and their mean and range.

    Args:
        histories: by the name of an arm, accuracies (0 to 1): a row for each epoch, from 1 on,
            and a column for each run, named (seed, id).
    """
    data = [
        _point(RUN, name, score, f"seed {seed}, epoch {epoch}, {percent(score)}", epoch=epoch)
        | {"last": bool(epoch == runs.index[-1]), "url": url(run)}
        for name, runs in histories.items()
        for (seed, run), scores in runs.items()
        for epoch, score in scores.items()
    ]
    chart = _chart("curves", width, points=data)
    chart["facet"]["sort"] = list(histories)
    chart["columns"] = columns = min(len(histories), 2 if width < NARROW else 5)
    chart["spec"]["width"] = (width - 70) / columns - chart["spacing"]
    means = [100 * runs.mean(axis=1) for runs in histories.values()]
    # as in charts.yaml: without the first epoch, where there are others
    shown = pd.concat(mean.iloc[1:] if len(mean) > 1 else mean for mean in means)
    epochs, (x, y) = max(map(len, means)), (chart["spec"]["encoding"][axis] for axis in "xy")
    every = math.ceil(epochs / 4)
    x["axis"]["values"] = [*range(every, epochs + 1, every)]
    y["scale"]["domain"] = [shown.min() - 0.1, min(100, shown.max() + 0.15)]
    return chart


def _point(kind: str, name: str, accuracy: float, words: str, **others: Any) -> dict[str, Any]:
    """The data of a point; `words` are shown where one points at it."""
    text = f"{name}: {words}" if name else words
    return {"kind": kind, "name": name, "text": text, "value": 100 * accuracy, "url": ""} | others


def _interval(point: dict[str, Any], found: Interval) -> list[dict[str, Any]]:
    """The data of the interval of a point; [] for those of two runs, which would squeeze others."""
    if found.n < 3 or not math.isfinite(found.low):
        return []
    return [point | {"value": 100 * found.low, "high": 100 * min(found.high, 1)}]


def _chart(name: str, width: int, **data: list[dict]) -> Chart:
    kinds = [*dict.fromkeys(each["kind"] for each in data["points"])]
    params = {"kinds": kinds, "phone": width < NARROW}
    return copy.deepcopy(definitions()[name]) | {
        "config": definitions()["config"],
        "datasets": data,
        "params": [{"name": key, "value": value} for key, value in params.items()],
        "width": width,
    }


def _vega(chart: Chart) -> dict[str, Any]:
    """The chart for Vega; of texts that would overlap only the first is drawn."""
    vega = vl_convert.vegalite_to_vega(chart)
    for mark in vega["marks"]:
        if mark["type"] == "text":
            mark["transform"] = [definitions()["labels"]]
    return vega
