"""A submission to the Digit Recognizer competition, scored where the truth is known."""

from pathlib import Path

import pandas as pd

from experiments.cli.errors import UserError, one_line

TRUTH = "truth.csv"
COLUMNS = ["ImageId", "Label"]


def score(submission: Path, truth: Path) -> tuple[float, int]:
    """The accuracy, from 0 to 1, and the number of images; UserError where they do not match."""
    if not truth.exists():
        raise UserError(f"{truth} is missing; python -m experiments.competition makes it")
    if not submission.is_file():  # a pipe would be waited for
        raise UserError(f"{submission}: is not a file")
    try:
        given, expected = (
            pd.read_csv(path, usecols=COLUMNS, dtype="int64").set_index("ImageId").sort_index()
            for path in (submission, truth)
        )
    except (OSError, ValueError) as error:
        raise UserError(f"{submission}: cannot be read: {one_line(error)}") from error
    if not given.index.equals(expected.index):
        raise UserError(
            f"{submission}: must have one row for each ImageId from 1 to {len(expected):,}"
        )
    return float((given == expected)["Label"].mean()), len(expected)
