"""Arms compared with each other: a row for each, for the terminal, Markdown and CSV."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from experiments.cli.errors import UserError
from experiments.cli.tables import without_formulas
from experiments.cli.text import limits, measured, percent, points
from experiments.stats.intervals import Interval, interval, over_images
from experiments.stats.verdict import Difference, difference, holm, more_seeds
from experiments.tracking.arms import Arm
from experiments.tracking.store import Store
from experiments.tracking.wrong import read_wrong

RIGHT = (
    *("parameters", "multiply-adds", "published", "accuracy, 95 % interval", "on new images"),
    *("n", "difference, 95 % interval", "more seeds"),
)
VERDICTS = ("verdict", "of all, by Holm", "no worse")
HEADER = ("", "what changed", *RIGHT[:6], "against", RIGHT[6], *VERDICTS, RIGHT[7])
DIFFERENCE = ("difference", "difference_low", "difference_high", "verdict", "more_seeds")
COLUMNS = (  # of the CSV
    *("name", "step", "changed", "parameters", "mult_adds", "published_best", "published_last"),
    *("n", "mean", "low", "high", "against", *DIFFERENCE, "seeds", "accuracies", "device"),
    *("p", "p_holm", "no_worse", "images_low", "images_high"),
)
NOTES = (
    "Accuracies, published ones too, are those of the last epoch; with data.holdout, those on the "
    "test images by the epoch that was best on the images held out. Differences are in points. "
    "Verdicts follow from 95 % t intervals of the difference: paired if both arms have the same "
    "seeds, Welch's otherwise. Where there is no difference, 5 % of comparisons still get a "
    "verdict; with Holm's correction, 5 % of whole tables. "
)
CHOSEN = (
    "No worse: by more than {:.2f} points, one-sided at 95 %. More seeds: how many each arm needs "
    "to show a difference of {:.2f} points with a power of about 80 %; a verdict counts once "
    "these are trained. "
)
NEW_IMAGES = (
    "The accuracy's interval is for new seeds on these test images; on new images: for new seeds "
    "and new images. "
)
OTHER_IMAGES = "none: judged on other images"


class Row(NamedTuple):
    """An arm, its accuracy, the name of the arm that it is compared with, and the difference.

    Attributes:
        p_holm: of the difference, corrected for all differences of the table.
        no_worse: whether it is worse by no more than the margin.
        more: seeds that each arm needs beyond those it has; None if unknown or over 1,000.
        images: the accuracy's interval over seeds and images, if all runs kept their mistakes.
    """

    arm: Arm
    accuracy: Interval
    against: str = ""
    difference: Difference | None = None
    p_holm: float = math.nan
    no_worse: str = ""
    more: int | None = None
    images: Interval | None = None


def compare(
    arms: Sequence[Arm],
    against: str = "previous",
    margin: float = 0.0005,
    smallest: float = 0.001,
) -> list[Row]:
    """Compare each arm with another one.

    Args:
        arms: at least one; all have scores.
        against: "previous": the step before, or for a variation of a step the step
            itself; "first"; or the name of an arm.
        margin: by how much an arm may be lower and still be no worse; 0 to 1.
        smallest: the difference that more seeds should show; 0 to 1.

    Raises:
        UserError: no arm has that name.
    """
    others = {"previous": None, "first": arms[0], **{arm.name: arm for arm in arms}}
    if against not in others:
        raise UserError(f"against={against}: choose one of {'; '.join(others)}")
    rows = []
    previous: dict[tuple, Arm] = {}  # by the images that arms were judged on
    for arm in arms:
        other = previous.get(arm.judged_on) if against == "previous" else others[against]
        row = Row(arm, interval(arm.values))
        if other not in (None, arm):
            row = row._replace(against=OTHER_IMAGES)
            if other.judged_on == arm.judged_on:
                found = difference(other.scores, arm.scores)
                row = Row(*row[:2], other.name, found, no_worse=found.no_worse(margin))
                row = row._replace(more=more_seeds(found, smallest))
        rows.append(row)
        if arm.step is None or "," not in arm.name:  # no variation
            previous[arm.judged_on] = arm
    corrected = holm([row.difference.p if row.difference else math.nan for row in rows])
    return [row._replace(p_holm=p) for row, p in zip(rows, corrected, strict=True)]


def with_images(rows: Sequence[Row], store: Store) -> list[Row]:
    """Rows with the interval over seeds and images, where all runs kept what they got wrong."""
    return [row._replace(images=_on_new_images(row.arm, store)) for row in rows]


def _on_new_images(arm: Arm, store: Store) -> Interval | None:
    table = []
    for run in arm.runs:
        kept = read_wrong(store.client, run)
        if kept is None or (kept.digest, f"{kept.split}/acc") != arm.judged_on:
            return None
        table.append(np.bincount(kept.wrong, minlength=kept.images).astype(bool))
    same = len({len(wrong) for wrong in table}) == 1
    return over_images(np.array(table)) if same else None


def cells(row: Row) -> tuple[str, ...]:
    """The texts of a row, in the order of HEADER."""
    arm, found = row.arm, row.difference
    texts = ("",) * 5
    if found:
        more = "over 1,000" if row.more is None else f"{row.more:,}"
        verdicts = (found.verdict, found.corrected(row.p_holm), row.no_worse)
        texts = (points(found), *verdicts, "unknown" if math.isnan(found.deviation) else more)
    return (
        arm.name,
        arm.changed,
        *("" if count is None else f"{count:,}" for count in (arm.parameters, arm.mult_adds)),
        percent(arm.published_last),
        measured(row.accuracy),
        limits(row.images) if row.images else "",
        str(row.accuracy.n),
        row.against,
        *texts,
    )


def notes(rows: Sequence[Row], margin: float, smallest: float) -> str:
    """How to read the table, and what the runs were trained on."""
    text = NOTES + CHOSEN.format(100 * margin, 100 * smallest)
    text += NEW_IMAGES if any(row.images for row in rows) else ""
    return f"{text}Trained on {' and '.join(sorted({row.arm.device for row in rows}))}."


def to_csv(rows: Sequence[Row]) -> str:
    """A line for each arm, accuracies from 0 to 1; seeds and scores are separated by spaces."""
    records = []
    for row in rows:
        arm, found = row.arm, row.difference
        record = {**arm._asdict(), **row.accuracy._asdict(), "against": row.against}
        record["seeds"] = " ".join(arm.scores)
        record["accuracies"] = " ".join(f"{score:.6f}".rstrip("0") for score in arm.values)
        if found:
            figures = (*found[:3], found.verdict, row.more)
            record |= dict(zip(DIFFERENCE, figures, strict=True))
            record |= {"p": found.p, "p_holm": row.p_holm, "no_worse": row.no_worse}
        if row.images:
            record |= {"images_low": row.images.low, "images_high": row.images.high}
        records.append(record)
    table = pd.DataFrame(records, columns=COLUMNS).replace([-math.inf, math.inf], math.nan)
    return without_formulas(table).convert_dtypes().to_csv(index=False, float_format="%.6f")
