"""Images as rows of a CSV file: label,pixel0,pixel1,... as in the Digit Recognizer competition."""

import csv
import functools
import math
import re
from pathlib import Path

import numpy as np
import pyarrow
import torch
from pyarrow.csv import ConvertOptions, ReadOptions, read_csv
from torch import Tensor

from experiments.cli.errors import UserError, one_line

LABEL = "label"


class CSVFolder:
    """The file train.csv of a folder; its last rows are held out for validation.

    Has `data` [N, H, W] and `targets` [N] like torchvision's data sets.

    Raises:
        UserError: see `read`; or no row is left to train on.
    """

    def __init__(self, root: str, train: bool, held_out: int, num_classes: int) -> None:
        path = Path(root, "train.csv")
        if not path.exists():
            raise UserError(
                f"{path} is missing: put the competition's files there, name their folder with "
                "data.root=, or make such files from MNIST: python -m experiments.competition"
            )
        images, labels = read(path, num_classes)
        if labels is None:
            raise UserError(f"{path}: has no column {LABEL}")
        if type(held_out) is not int or not 0 < held_out < len(labels):
            raise UserError(
                f"data.held_out must be from 1 to {len(labels) - 1:,}, as {path} has "
                f"{len(labels):,} rows, not {held_out}"
            )
        part = slice(-held_out) if train else slice(-held_out, None)
        self.data, self.targets = images[part], labels[part]


@functools.lru_cache(maxsize=1)  # training and validation images come from one file
def read(path: Path, num_classes: int) -> tuple[Tensor, Tensor | None]:
    """Images uint8 [N, H, W], and int64 labels [N], or None if the file has no labels.

    Raises:
        UserError: the file cannot be read, or names the row and column of a bad cell.
    """
    columns = _header(path)
    types = dict.fromkeys(columns, pyarrow.uint8())
    try:
        table = read_csv(
            path,
            ReadOptions(use_threads=False),  # with threads, errors do not name the row
            convert_options=ConvertOptions(column_types=types, null_values=[]),
        )
    except (OSError, ValueError) as error:
        reason = one_line(error)[:200]  # names the column by its number
        reason = re.sub(r"column #(\d+)", lambda found: f"column {columns[int(found[1])]}", reason)
        raise UserError(
            f"{path}: {reason}; cells must be whole numbers from 0 to 255 (row #1 is the header)"
        ) from error
    if not table.num_rows:
        raise UserError(f"{path}: has no rows under its header")
    pixels = [f"pixel{i}" for i in range(len(columns) - (LABEL in columns))]
    side = math.isqrt(len(pixels))
    images = np.stack([table[name].to_numpy() for name in pixels], axis=1)
    images = torch.from_numpy(images).view(-1, side, side)
    if LABEL not in columns:
        return images, None
    labels = torch.from_numpy(table[LABEL].to_numpy().astype(np.int64))
    if labels.max() >= num_classes:
        row = int(labels.argmax())
        raise UserError(
            f"{path}: row #{row + 2}, column {LABEL}: {labels[row]} is not a label "
            f"from 0 to {num_classes - 1}"
        )
    return images, labels


def _header(path: Path) -> list[str]:
    """The names of the columns, which must be those of square images."""
    if not path.is_file():
        raise UserError(f"{path}: is not a file")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            columns = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read as CSV: {error}") from error
    count = len(columns) - (LABEL in columns)
    pixels = {f"pixel{i}" for i in range(count)}
    if not count or set(columns) - {LABEL} != pixels or math.isqrt(count) ** 2 != count:
        raise UserError(
            f"{path}: the first line must be {LABEL},pixel0,pixel1,... for square images "
            f"({LABEL} may be left out), not {len(columns):,} columns: {','.join(columns)[:60]!r}"
        )
    return columns
