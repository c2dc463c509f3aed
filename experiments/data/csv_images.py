"""Images as rows of a CSV file: label,pixel0,pixel1,... as the Digit Recognizer competition has."""

import csv
import functools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from experiments.cli.errors import UserError

LABEL, BYTE = "label", 255
SHOWN = 20  # characters of a bad cell


class CSVFolder:
    """A file train.csv in a folder of the user's; its last rows are held out for validation.

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
    """Images uint8 [N, H, W], and int64 labels [N] where the file has them.

    Raises:
        UserError: the file cannot be read, or a column or cell of it is not as it should be;
            it is named.
    """
    import pyarrow.csv  # nothing else needs it

    columns = _header(path)
    pixels = len(columns) - (LABEL in columns)
    convert = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(columns, pyarrow.uint8()))
    try:
        table = pyarrow.csv.read_csv(path, convert_options=convert)
    except (pyarrow.ArrowInvalid, UnicodeDecodeError) as error:
        _explain(path, columns, num_classes, str(error))
    if not table.num_rows:
        raise UserError(f"{path}: has no rows beneath its header")
    if any(column.null_count for column in table.columns):
        _explain(path, columns, num_classes, "a cell is empty")
    images = np.empty((table.num_rows, pixels), np.uint8)
    for i in range(pixels):
        images[:, i] = table[f"pixel{i}"].to_numpy()
    side = math.isqrt(pixels)
    if LABEL not in columns:
        return torch.from_numpy(images).view(-1, side, side), None
    labels = torch.from_numpy(table[LABEL].to_numpy().astype(np.int64))
    if labels.max() >= num_classes:
        _explain(path, columns, num_classes, f"a label is {labels.max()}")
    return torch.from_numpy(images).view(-1, side, side), labels


def _header(path: Path) -> list[str]:
    """The names of the columns, which must be those of images."""
    with _rows(path) as rows:
        columns = next(rows, [])
    if not columns:
        raise UserError(f"{path}: is empty")
    if len(columns) == 1:
        raise UserError(
            f"{path}: its first line is no header of columns with commas between them: "
            f"{_shown(columns[0])}"
        )
    names = set(columns)
    pixels = {f"pixel{i}" for i in range(len(names - {LABEL}))}
    if all(name.isdigit() for name in columns):
        raise UserError(f"{path}: has no header; its first line must be label,pixel0,pixel1,...")
    if len(names) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        raise UserError(f"{path}: has the column {_shown(twice)} twice")
    strangers = [name for name in columns if name != LABEL and not _is_pixel(name)]
    if strangers:
        raise UserError(
            f"{path}: has a column {_shown(strangers[0])}; "
            f"there must be none but {LABEL}, pixel0, pixel1, ..."
        )
    missing = sorted(pixels - names, key=lambda name: int(name[5:]))
    if missing:
        raise UserError(f"{path}: the column {missing[0]} is missing")
    if math.isqrt(len(pixels)) ** 2 != len(pixels):
        raise UserError(f"{path}: has {len(pixels):,} pixels, which are no square image")
    return columns


def _is_pixel(name: str) -> bool:
    return name.startswith("pixel") and name[5:].isascii() and name[5:].isdigit()


def _explain(path: Path, columns: list[str], num_classes: int, reason: str) -> NoReturn:
    """Find the first bad cell of a file that has one; slow, and only ever done once."""
    with _rows(path) as rows:
        next(rows)
        for number, row in enumerate((row for row in rows if row), start=1):
            where = f"{path}: row {number:,} (line {rows.line_num:,})"
            if len(row) != len(columns):
                raise UserError(f"{where} has {len(row):,} cells, not {len(columns):,}")
            for name, cell in zip(columns, row, strict=True):
                highest = num_classes - 1 if name == LABEL else BYTE
                if not _is_whole(cell.strip(), highest):
                    raise UserError(
                        f"{where}, column {name}: {_shown(cell)} is no whole number "
                        f"from 0 to {highest}"
                    )
    raise UserError(f"{path}: {' '.join(reason.split())[:200]}")


def _is_whole(cell: str, highest: int) -> bool:
    return cell.isascii() and cell.isdigit() and len(cell) <= 3 and int(cell) <= highest


def _shown(cell: str) -> str:
    return repr(cell if len(cell) <= SHOWN else f"{cell[:SHOWN]}...")


@contextmanager
def _rows(path: Path) -> Iterator[Iterator[list[str]]]:
    """The rows of a CSV file as texts."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            yield csv.reader(file)
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: is not a text file of comma-separated values") from error
