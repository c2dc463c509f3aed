"""What the charts draw, without a browser."""

import re
from xml.etree import ElementTree

import pandas as pd
from made import arm

from experiments.reports import charts
from experiments.reports.charts import Point
from experiments.reports.comparison import compare
from experiments.stats.intervals import interval

NASTY = """<img src=x onerror='1'> "a" & b"""


def points(*places: tuple[int, float]) -> list[Point]:
    return [
        Point(size, interval([mean]), f"{size} at {mean}", "http://somewhere")
        for size, mean in places
    ]


def places(svg: str) -> dict[str, str]:
    """Where the marks of a chart stand, by the text that they tell."""
    return dict(re.findall(r'aria-label="([^"]*)"[^>]* transform="translate\(([\d.]+),', svg))


def test_networks_of_one_size_stand_at_one_place_and_the_front_is_what_none_beats():
    networks = points((500, 0.98), (500, 0.99), (600, 0.985), (700, 0.995))
    svg = charts.svg(charts.pareto(networks, 1000), "x")
    at = {name.partition(":")[0]: place for name, place in places(svg).items()}
    assert at["500 at 0.98"] == at["500 at 0.99"]
    chart = charts.pareto(networks, 1000)
    kinds = {each["name"]: each["kind"] for each in chart["datasets"]["points"]}
    front = [name for name, kind in kinds.items() if kind == "Pareto front"]
    assert front == ["500 at 0.99", "700 at 0.995"]
    assert svg.count('xlink:href="http://somewhere"') == 4


def test_names_of_any_origin_are_texts():
    network = Point(500, interval([0.98]), NASTY)
    history = {NASTY: pd.DataFrame({("0", "id"): {1: 0.9, 2: 0.91}})}
    for chart in (charts.pareto([network], 1000), charts.curves(history, 1000, str)):
        svg = charts.svg(chart, "x")
        assert "<img" not in svg
        assert NASTY in " ".join(ElementTree.fromstring(svg).itertext())


def test_ids_of_two_charts_on_a_page_differ():
    history = {"clip0": pd.DataFrame({("0", "id"): {1: 0.9, 2: 0.91}})}
    svg = charts.svg(charts.curves(history, 1000, str), "curves")
    ids = re.findall(r'id="([^"]*)"', svg)
    assert ids
    assert all(name.startswith("curves-") for name in ids)
    assert set(re.findall(r"url\(#([^)]*)\)", svg)) <= set(ids)
    assert ">clip0</text>" in svg, "a name stays what it is"


def test_a_picture_has_the_light_colours():
    assert charts.png(charts.pareto(points((500, 0.98)), 600)).startswith(b"\x89PNG")


def test_arms_stand_in_their_order_also_those_without_an_interval():
    scores = {"step 1": [0.99, 0.991], "step 2": [0.99, 0.991, 0.992], "step 3": [0.99, 0.9, 0.91]}
    arms = [arm(name, name, "a", *each, runs=["id"] * len(each)) for name, each in scores.items()]
    svg = charts.svg(charts.ladder(compare(arms), 800, str), "x")
    heights = re.findall(r"translate\([\d.-]+,([\d.]+)\)[^>]*>(step \d)<", svg)
    assert [name for _, name in sorted((float(y), name) for y, name in heights)] == [*scores]
