"""Arms held against each other: a row for each, as a table, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from experiments.cli.errors import UserError
from experiments.cli.text import measured, percent, points
from experiments.stats.intervals import Interval, interval
from experiments.stats.verdict import CANNOT_TELL, Difference, difference
from experiments.tracking.arms import Arm

COLUMNS = (
    "",
    "what changed",
    "parameters",
    "multiply-adds",
    "published",
    "accuracy, 95 % interval",
    "n",
    "against",
    "difference, 95 % interval",
    "verdict",
    "more seeds",
)

LEFT = ("", "what changed", "against", "verdict")

NOTES = (
    "Accuracies are of the last epoch, published ones too; differences are in points. "
    "A verdict rests on a 95 % t interval, paired where two arms have the same seeds, else "
    "Welch's; where there is no difference, one in twenty errs. More seeds: how many more each "
    "arm takes to tell a difference as large as this one, four times of five."
)


class Row(NamedTuple):
    """An arm, its accuracy, and how far it is above another arm, if there is one to hold it to."""

    arm: Arm
    accuracy: Interval
    other: Arm | None
    difference: Difference | None


def compare(arms: Sequence[Arm], against: str = "previous") -> list[Row]:
    """Hold each arm that has a score against another.

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
    rows, base = [], None
    for arm in arms:
        varies = "," in arm.name and arm.step is not None
        if against == "previous":
            other = base
            if not varies:
                base = arm
        else:
            other = arms[0 if against == "first" else names.index(against)]
        if other is arm:
            other = None
        found = difference(other.scores, arm.scores) if other else None
        rows.append(Row(arm, interval(arm.values), other, found))
    return rows


def cells(row: Row) -> tuple[str, ...]:
    """A row as people read it, in the order of COLUMNS."""
    arm, other, found = row.arm, row.other, row.difference
    more = ""
    if found and found.verdict == CANNOT_TELL:
        more = "over 1,000" if found.more_seeds is None else f"{found.more_seeds:,}"
        if math.isnan(found.deviation):
            more = "unknown"
    return (
        arm.name,
        arm.changed,
        _count(arm.parameters),
        _count(arm.mult_adds),
        percent(arm.published_last),
        measured(row.accuracy),
        str(row.accuracy.n),
        other.name if other else "",
        points(found) if found else "",
        found.verdict if found else "",
        more,
    )


def failures(arms: Iterable[Arm]) -> list[str]:
    """A line for each run that failed, and is missing from its arm."""
    return [f"{name} failed, and is not counted" for arm in arms for name in arm.failed]


def to_markdown(rows: Sequence[Row]) -> str:
    """The table as GitHub shows it, and how to read it."""
    shown = _used(rows)
    lines = ["| " + " | ".join(COLUMNS[i] for i in shown) + " |"]
    lines.append("|" + "|".join("---" if COLUMNS[i] in LEFT else "---:" for i in shown) + "|")
    for row in rows:
        texts = [text.replace("|", "\\|") for text in cells(row)]
        lines.append("| " + " | ".join(texts[i] for i in shown) + " |")
    return "\n".join([*lines, "", NOTES, "", f"Trained on {devices(rows)}.", ""])


def _used(rows: Sequence[Row]) -> list[int]:
    """The columns in which a row has something."""
    table = [cells(row) for row in rows]
    return [i for i in range(len(COLUMNS)) if any(texts[i] for texts in table)]


def devices(rows: Sequence[Row]) -> str:
    return " and ".join(sorted({row.arm.device for row in rows}))


def to_csv(rows: Sequence[Row]) -> str:
    """A line for each arm, accuracies from 0 to 1; seeds and scores are lists with spaces."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV)
    for arm, found, other, against in rows:
        ends = ["" if math.isinf(end) else f"{end:.6f}" for end in found[1:3]]
        held = ["", "", "", "", "", ""]
        if other and against:
            held = [other.name, f"{against.mean:.6f}"]
            held += ["" if math.isinf(end) else f"{end:.6f}" for end in against[1:3]]
            held += [against.verdict, against.more_seeds]
        writer.writerow(
            [
                *(arm.name, arm.step, arm.changed, arm.parameters, arm.mult_adds),
                *(arm.published_best, arm.published_last, found.n, f"{found.mean:.6f}", *ends),
                *held,
                " ".join(arm.scores),
                " ".join(f"{score:.6f}".rstrip("0") for score in arm.values),
                arm.device,
            ]
        )
    return out.getvalue()


CSV = (
    *("name", "step", "changed", "parameters", "mult_adds", "published_best", "published_last"),
    *("n", "mean", "low", "high", "against", "difference", "difference_low", "difference_high"),
    *("verdict", "more_seeds", "seeds", "accuracies", "device"),
)


def read_scores(path: Path) -> dict[str, dict[str, float]]:
    """The accuracy of each seed of each arm, by name, from what `to_csv` made.

    Raises:
        UserError: the file is not there, or is no such file.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        arms = {}
        for row in rows:
            scores = map(float, row["accuracies"].split())
            arms[row["name"]] = dict(zip(row["seeds"].split(), scores, strict=True))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except (KeyError, ValueError, AttributeError, csv.Error) as error:
        advice = "make it with experiments.compare csv=FILE"
        raise UserError(f"{path}: not a table of arms ({error}); {advice}") from error
    if not arms:
        raise UserError(f"{path}: holds no arm; make it with experiments.compare csv=FILE")
    return arms


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
