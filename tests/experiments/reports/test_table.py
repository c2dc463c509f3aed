"""The texts of a comparison's table."""

import pytest
from made import arm

from experiments.reports.comparison import compare
from experiments.reports.table import HEADER, cells, notes

BEFORE = (0.9931, 0.9929, 0.9933)


@pytest.mark.parametrize(
    ("after", "verdict", "more"),
    [
        ((0.9901, 0.9903, 0.9899), "worse", "2 to confirm"),
        ((0.9911, 0.9919, 0.9983), "cannot tell", "112"),
    ],
)
def test_more_seeds_beside_a_verdict_are_to_confirm_it(after, verdict, more):
    [_, row] = compare([arm("step 1", "s01", "", *BEFORE), arm("step 2", "s02", "", *after)])
    texts = dict(zip(HEADER, cells(row), strict=True))
    assert (texts["verdict"], texts["more seeds"]) == (verdict, more)


def test_a_verdict_of_enough_seeds_needs_no_more():
    arms = [arm("step 1", "s01", "", *BEFORE, 0.993, 0.9932)]
    arms.append(arm("step 2", "s02", "", *(score - 0.01 for score in arms[0].values)))
    arms[1].scores["4"] -= 0.0001
    texts = dict(zip(HEADER, cells(compare(arms)[1]), strict=True))
    assert (texts["verdict"], texts["more seeds"]) == ("worse", "")


def test_the_mark_of_a_name_is_explained_where_there_is_one():
    plain, marked = (
        notes(compare([arm(name, "s01", "", *BEFORE)]), 0.0005, 0.001)
        for name in ("step 1", "step 1 (a1b2c3)")
    )
    assert "A mark such as (a1b2c3) tells apart networks of one name" in marked
    assert "A mark" not in plain
