"""The table of a comparison: a row for each arm, for the terminal, Markdown, CSV and the page."""

import math
from collections.abc import Sequence

import pandas as pd

from experiments.cli.tables import without_formulas
from experiments.cli.text import limits, measured, percent, points
from experiments.reports.comparison import Row

RIGHT = (
    *("parameters", "multiply-adds", "published", "accuracy, 95 % interval", "on new images"),
    *("n", "difference, 95 % interval", "more seeds"),
)
HEADER = (
    *("network", "parameters", "accuracy, 95 % interval", "n", "difference, 95 % interval"),
    *("verdict", "against", "of all, by Holm", "no worse", "more seeds", "on new images"),
    *("published", "multiply-adds", "what changed"),
)
LESSER = tuple(reversed(HEADER[6:]))  # where there is no room, the first of them go first
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


def cells(row: Row) -> tuple[str, ...]:
    """The texts of a row, in the order of HEADER."""
    arm, found = row.arm, row.difference
    shown, verdicts = "", ("",) * 4
    if found:
        more = "over 1,000" if row.more is None else f"{row.more:,}"
        more = "unknown" if math.isnan(found.deviation) else more
        shown = points(found)
        verdicts = found.verdict, found.corrected(row.p_holm), row.no_worse, more
    parameters, mult_adds = (
        "" if count is None else f"{count:,}" for count in (arm.parameters, arm.mult_adds)
    )
    return (
        *(arm.name, parameters, measured(row.accuracy), str(row.accuracy.n), shown),
        *(verdicts[0], row.against, *verdicts[1:]),
        limits(row.images) if row.images else "",
        *(percent(arm.published_last), mult_adds, row.changed),
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
        record = {**arm._asdict(), **row.accuracy._asdict()}
        record |= {"against": row.against, "changed": row.changed}
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
