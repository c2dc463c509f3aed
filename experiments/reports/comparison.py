"""Arms compared with each other: a row for each, for the terminal, Markdown and CSV."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from experiments.cli import tables
from experiments.cli.errors import UserError
from experiments.cli.text import measured, percent, points
from experiments.stats.intervals import Interval, interval
from experiments.stats.power import more_seeds
from experiments.stats.verdict import CANNOT_TELL, Difference, difference
from experiments.tracking.arms import Arm

RIGHT = (
    *("parameters", "multiply-adds", "published", "accuracy, 95 % interval", "n"),
    *("difference, 95 % interval", "more seeds"),
)
HEADER = ("", "what changed", *RIGHT[:5], "against", RIGHT[5], "verdict", RIGHT[6])

NOTES = (
    "Accuracies, published ones too, are those of the last epoch; differences are in points. "
    "Verdicts follow from 95 % t intervals of the difference: paired if both arms have the same "
    "seeds, Welch's otherwise. Where there is no difference, 5 % of comparisons still get a "
    "verdict. More seeds: how many more each arm needs to show a difference of this size with a "
    "power of 80 %."
)


class Row(NamedTuple):
    """An arm, its accuracy, the arm that it is compared with (if any), and the difference."""

    arm: Arm
    accuracy: Interval
    other: Arm | None
    difference: Difference | None


def compare(arms: Sequence[Arm], against: str = "previous") -> list[Row]:
    """Compare each arm that has finished runs with another one.

    Args:
        against: "previous": the step before, or for a variation of a step the step
            itself; "first"; or the name of an arm.

    Raises:
        UserError: no arm has that name.
    """
    arms = [arm for arm in arms if arm.scores]
    names = [arm.name for arm in arms]
    if against not in ("previous", "first", *names):
        raise UserError(f"against={against}: choose previous, first, or one of {'; '.join(names)}")
    rows, previous = [], None
    for arm in arms:
        if against == "previous":
            other = previous
            if arm.step is None or "," not in arm.name:  # not a variation of a step
                previous = arm
        else:
            other = arms[0 if against == "first" else names.index(against)]
        if other is arm:
            other = None
        found = difference(other.scores, arm.scores) if other else None
        rows.append(Row(arm, interval(arm.values), other, found))
    return rows


def cells(row: Row) -> tuple[str, ...]:
    """The texts of a row, in the order of HEADER."""
    arm, accuracy, other, found = row
    return (
        arm.name,
        arm.changed,
        _count(arm.parameters),
        _count(arm.mult_adds),
        percent(arm.published_last),
        measured(accuracy),
        str(accuracy.n),
        other.name if other else "",
        points(found) if found else "",
        found.verdict if found else "",
        _more(found) if found and found.verdict == CANNOT_TELL else "",
    )


def notes(rows: Sequence[Row]) -> str:
    """How to read the table, and what the runs were trained on."""
    return f"{NOTES} Trained on {' and '.join(sorted({row.arm.device for row in rows}))}."


def failures(arms: Iterable[Arm]) -> list[str]:
    """A line for each failed run, which its arm does not count."""
    return [f"{name} failed, and is not counted" for arm in arms for name in arm.failed]


def to_markdown(rows: Sequence[Row]) -> str:
    """The table as GitHub shows it, with its notes."""
    return f"{tables.to_markdown(HEADER, map(cells, rows), RIGHT)}\n{notes(rows)}\n"


def to_csv(rows: Sequence[Row]) -> str:
    """A line for each arm, accuracies from 0 to 1; seeds and scores are separated by spaces."""
    records = [_record(row) for row in rows]
    return tables.to_csv(list(records[0]), [record.values() for record in records])


def _record(row: Row) -> dict[str, object]:
    """The cells of a line of the CSV, by column."""
    arm, accuracy, other, found = row
    return {
        "name": arm.name,
        "step": arm.step,
        "changed": arm.changed,
        "parameters": arm.parameters,
        "mult_adds": arm.mult_adds,
        "published_best": arm.published_best,
        "published_last": arm.published_last,
        "n": accuracy.n,
        "mean": _decimals(accuracy.mean),
        "low": _decimals(accuracy.low),
        "high": _decimals(accuracy.high),
        "against": other.name if other else None,
        "difference": _decimals(found.mean) if found else None,
        "difference_low": _decimals(found.low) if found else None,
        "difference_high": _decimals(found.high) if found else None,
        "verdict": found.verdict if found else None,
        "more_seeds": more_seeds(found) if found else None,
        "seeds": " ".join(arm.scores),
        "accuracies": " ".join(f"{score:.6f}".rstrip("0") for score in arm.values),
        "device": arm.device,
    }


def _decimals(value: float) -> str | None:
    return None if math.isinf(value) else f"{value:.6f}"


def _more(found: Difference) -> str:
    if math.isnan(found.deviation):
        return "unknown"
    count = more_seeds(found)
    return "over 1,000" if count is None else f"{count:,}"


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
