"""The table of a comparison: a row for each arm, for the terminal, Markdown, CSV and the page."""

import math
from collections.abc import Sequence

import pandas as pd

from experiments.cli import tables
from experiments.cli.text import limits, measured, percent, points
from experiments.reports.comparison import Row
from experiments.stats.target import CANNOT_TELL

HEADER = (
    *("network", "parameters", "accuracy, 95 % interval", "n", "difference, 95 % interval"),
    *("verdict", "against", "of all, by Holm", "no worse", "more seeds", "on new images"),
    *("published", "multiply-adds", "what changed"),
)
RIGHT = (*HEADER[1:5], *HEADER[9:13])
ON_SCREEN = tuple(name for name in HEADER if name != "against")  # the verdict says it there
LESSER = (*reversed(ON_SCREEN[6:]), ON_SCREEN[1])  # the first of them go below their row first
COLUMNS = (  # of the CSV
    *("name", "step", "changed", "parameters", "mult_adds", "published_best", "published_last"),
    *("n", "mean", "low", "high", "against", "difference", "difference_low", "difference_high"),
    *("verdict", "more_seeds", "seeds", "accuracies", "device"),
    *("p", "p_holm", "no_worse", "images_low", "images_high", "digest", "metric"),
)
NOTES = (
    "Accuracies, published ones too, are those of the last epoch; with data.holdout, those on the"
    " test images by the epoch that was best on the images held out. Differences are in points. "
    "Verdicts follow from 95 % t intervals of the difference: paired if both arms have the same "
    "seeds, Welch's otherwise. Where there is no difference, 5 % of comparisons still get a "
    "verdict; with Holm's correction, 5 % of whole tables. No worse means lower by at most {:.2f}"
    " points, one-sided at 95 %. More seeds: how many more each arm needs to show a difference of"
    " {:.2f} points with a power of about 80 %, or to confirm a verdict on few seeds. {}{}Trained"
    " on {}."
)
MARKS = (
    "A mark such as (a1b2c3) tells apart networks of one name that were trained with other "
    "settings or images, as before a file was edited. "
)
NEW_IMAGES = (
    "The accuracy's interval is for new seeds on these test images; on new images: for new seeds "
    "and new images. "
)


def cells(row: Row) -> tuple[str, ...]:
    """The texts of a row, in the order of HEADER."""
    arm, found = row.arm, row.difference
    parameters, mult_adds = (
        "" if count is None else f"{count:,}" for count in (arm.parameters, arm.mult_adds)
    )
    shown = verdict = holm = more = ""
    if found:
        shown, verdict, holm = points(found), found.verdict, found.corrected(row.p_holm)
        more = "over 1,000" if row.more is None else f"{row.more:,}"
        more = "unknown" if math.isnan(found.deviation) else more
        if verdict != CANNOT_TELL:
            more = f"{more} to confirm" if row.more != 0 else ""
    return (
        *(arm.name, parameters, measured(row.accuracy), str(row.accuracy.n), shown),
        *(verdict, row.against, holm, row.no_worse, more),
        limits(row.images) if row.images else "",
        *(percent(arm.published_last), mult_adds, row.changed),
    )


def on_screen(row: Row) -> tuple[str, ...]:
    """The texts of a row, in the order of ON_SCREEN: "better than step 12", "none before it"."""
    texts = dict(zip(HEADER, cells(row), strict=True))
    against = texts.pop("against")
    word = {"": "", CANNOT_TELL: "from "}.get(texts["verdict"], "than ")
    texts["verdict"] = f"{texts['verdict']} {word}{against}".strip()
    return tuple(texts.values())


def notes(rows: Sequence[Row], margin: float, smallest: float) -> str:
    """How to read the table, and what the runs were trained on."""
    images = NEW_IMAGES if any(row.images for row in rows) else ""
    devices = " and ".join(sorted({row.arm.device for row in rows}))
    marks = MARKS if any(row.arm.name != row.arm.title for row in rows) else ""
    return NOTES.format(100 * margin, 100 * smallest, images, marks, devices)


def to_csv(rows: Sequence[Row]) -> str:
    """A line for each arm, accuracies from 0 to 1; seeds and scores are separated by spaces."""
    records = []
    for row in rows:
        record = row._asdict() | row.arm._asdict() | row.accuracy._asdict()
        record["seeds"] = " ".join(row.arm.scores)
        record["accuracies"] = " ".join(f"{score:.6f}".rstrip("0") for score in row.arm.values)
        if found := row.difference:
            ends = {"difference_low": found.low, "difference_high": found.high}
            record |= {"difference": found.mean, **ends, "verdict": found.verdict}
            record |= {"more_seeds": row.more, "p": found.p}
        if row.images:
            record |= {"images_low": row.images.low, "images_high": row.images.high}
        records.append(record)
    table = pd.DataFrame(records, columns=COLUMNS).replace([-math.inf, math.inf], math.nan)
    return tables.to_csv(table.convert_dtypes(), "%.6f")
