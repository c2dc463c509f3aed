"""Arms compared with each other: a row for each, for the terminal, Markdown and CSV."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from experiments.cli.errors import UserError
from experiments.cli.tables import without_formulas
from experiments.cli.text import measured, percent, points
from experiments.stats.intervals import Interval, interval
from experiments.stats.verdict import CANNOT_TELL, Difference, difference, more_seeds
from experiments.tracking.arms import Arm

RIGHT = (
    *("parameters", "multiply-adds", "published", "accuracy, 95 % interval", "n"),
    *("difference, 95 % interval", "more seeds"),
)
HEADER = ("", "what changed", *RIGHT[:5], "against", RIGHT[5], "verdict", RIGHT[6])
DIFFERENCE = ("difference", "difference_low", "difference_high", "verdict", "more_seeds")
COLUMNS = (  # of the CSV
    *("name", "step", "changed", "parameters", "mult_adds", "published_best", "published_last"),
    *("n", "mean", "low", "high", "against", *DIFFERENCE, "seeds", "accuracies", "device"),
)
NOTES = (
    "Accuracies, published ones too, are those of the last epoch; differences are in points. "
    "Verdicts follow from 95 % t intervals of the difference: paired if both arms have the same "
    "seeds, Welch's otherwise. Where there is no difference, 5 % of comparisons still get a "
    "verdict. More seeds: how many more each arm needs to show a difference of this size with a "
    "power of 80 %."
)


OTHER_IMAGES = "none: judged on other images"


class Row(NamedTuple):
    """An arm, its accuracy, the name of the arm that it is compared with, and the difference."""

    arm: Arm
    accuracy: Interval
    against: str = ""
    difference: Difference | None = None


def compare(arms: Sequence[Arm], against: str = "previous") -> list[Row]:
    """Compare each arm with another one.

    Args:
        arms: at least one; all have scores.
        against: "previous": the step before, or for a variation of a step the step
            itself; "first"; or the name of an arm.

    Raises:
        UserError: no arm has that name.
    """
    others = {"previous": None, "first": arms[0], **{arm.name: arm for arm in arms}}
    if against not in others:
        raise UserError(f"against={against}: choose one of {'; '.join(others)}")
    rows = []
    previous: dict[str | None, Arm] = {}  # by the images that arms were judged on
    for arm in arms:
        other = previous.get(arm.digest) if against == "previous" else others[against]
        row = Row(arm, interval(arm.values))
        if other not in (None, arm):
            same = other.digest == arm.digest
            found = difference(other.scores, arm.scores) if same else None
            row = Row(*row[:2], other.name if same else OTHER_IMAGES, found)
        rows.append(row)
        if arm.step is None or "," not in arm.name:  # no variation
            previous[arm.digest] = arm
    return rows


def cells(row: Row) -> tuple[str, ...]:
    """The texts of a row, in the order of HEADER."""
    arm, accuracy, against, found = row
    return (
        arm.name,
        arm.changed,
        *("" if count is None else f"{count:,}" for count in (arm.parameters, arm.mult_adds)),
        percent(arm.published_last),
        measured(accuracy),
        str(accuracy.n),
        against,
        points(found) if found else "",
        found.verdict if found else "",
        _more(found) if found and found.verdict == CANNOT_TELL else "",
    )


def notes(rows: Sequence[Row]) -> str:
    """How to read the table, and what the runs were trained on."""
    return f"{NOTES} Trained on {' and '.join(sorted({row.arm.device for row in rows}))}."


def to_csv(rows: Sequence[Row]) -> str:
    """A line for each arm, accuracies from 0 to 1; seeds and scores are separated by spaces."""
    records = []
    for arm, accuracy, against, found in rows:
        record = {**arm._asdict(), **accuracy._asdict(), "against": against}
        record["seeds"] = " ".join(arm.scores)
        record["accuracies"] = " ".join(f"{score:.6f}".rstrip("0") for score in arm.values)
        if found:
            figures = (*found[:3], found.verdict, more_seeds(found))
            record |= dict(zip(DIFFERENCE, figures, strict=True))
        records.append(record)
    table = pd.DataFrame(records, columns=COLUMNS).replace([-math.inf, math.inf], math.nan)
    return without_formulas(table.convert_dtypes()).to_csv(index=False, float_format="%.6f")


def _more(found: Difference) -> str:
    if math.isnan(found.deviation):
        return "unknown"
    count = more_seeds(found)
    return "over 1,000" if count is None else f"{count:,}"
