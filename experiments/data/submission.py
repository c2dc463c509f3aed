"""A submission to the Digit Recognizer competition, scored where the truth is known."""

from pathlib import Path

import pandas as pd

from experiments.cli.errors import UserError, one_line

TRUTH = "truth.csv"
COLUMNS = ["ImageId", "Label"]


def score(submission: Path, truth: Path) -> tuple[float, int]:
    """The accuracy of a submission, from 0 to 1, and the number of images.

    Raises:
        UserError: a file is missing, or does not have one row for each image.
    """
    if not truth.exists():
        raise UserError(f"{truth} is missing; python -m experiments.competition makes it")
    given, expected = read(submission), read(truth)
    if not given.index.equals(expected.index):
        raise UserError(
            f"{submission}: must have one row for each ImageId from 1 to {len(expected):,}"
        )
    return float((given == expected).mean()), len(expected)


def read(path: Path) -> pd.Series:
    """The label of each image, sorted by its number, from a CSV file ImageId,Label.

    Raises:
        UserError: the file cannot be read, or has other columns or cells.
    """
    try:
        table = pd.read_csv(path, dtype="int64")
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {one_line(error)}") from error
    if list(table.columns) != COLUMNS:
        raise UserError(f"{path}: its first line must be {','.join(COLUMNS)}")
    return table.set_index("ImageId")["Label"].sort_index()
