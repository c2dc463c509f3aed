"""Images as rows of a CSV file: label,pixel0,pixel1,... as in the Digit Recognizer competition."""

import functools
import math
from pathlib import Path

import numpy as np
import pyarrow
import torch
from pyarrow.csv import ConvertOptions, ReadOptions, open_csv, read_csv
from torch import Tensor

from experiments.cli.errors import UserError, one_line

LABEL = "label"


class CSVFolder:
    """The file train.csv of a folder; its last rows are held out for validation. Has `data`
    [N, H, W] and `targets` [N] like torchvision's data sets. Raises UserError."""

    def __init__(self, root: str, train: bool, held_out: int, num_classes: int) -> None:
        path = Path(root, "train.csv")
        if not path.exists():
            raise UserError(
                f"{path} is missing: put the competition's files there, name their folder with "
                "data.root=, or make such files from MNIST: python -m experiments.competition"
            )
        images, labels = read_csv_images(path, num_classes)
        if labels is None:
            raise UserError(f"{path}: has no column {LABEL}")
        if not 0 < held_out < len(labels):
            raise UserError(
                f"data.held_out must be above 0 and below {len(labels):,}, the rows of {path}"
            )
        part = slice(-held_out) if train else slice(-held_out, None)
        self.data, self.targets = images[part], labels[part]


@functools.lru_cache(maxsize=1)  # training and validation images come from one file
def read_csv_images(path: Path, num_classes: int) -> tuple[Tensor, Tensor | None]:
    """Images uint8 [N, H, W], and int64 labels [N], or None if the file has no labels. UserError
    names the row and column of a bad cell."""
    try:
        if not path.is_file():
            raise ValueError("is not a file")
        in_order = ReadOptions(use_threads=False)  # with threads, errors do not name the row
        with open_csv(path, in_order) as file:
            columns = file.schema.names
        pixels = [f"pixel{i}" for i in range(len(columns) - (LABEL in columns))]
        side = math.isqrt(len(pixels))
        if not pixels or set(columns) - {LABEL} != set(pixels) or side**2 != len(pixels):
            raise ValueError(f"the first line must be {LABEL},pixel0,pixel1,... or without {LABEL}")
        bytes_only = ConvertOptions(
            column_types=dict.fromkeys(columns, pyarrow.uint8()), null_values=[]
        )
        table = read_csv(path, in_order, convert_options=bytes_only).to_pandas()
        if not len(table):
            raise ValueError("has no rows under its header")
        labels = table.get(LABEL)
        if labels is not None and labels.max() >= num_classes:
            row = labels.argmax()
            raise ValueError(f"Row #{row + 2}: {labels[row]} is not a label below {num_classes}")
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: {one_line(error)} (expected: square images, cells from 0 to 255; "
            "row #1 is the header, column #0 the first)"
        ) from error
    images = torch.tensor(table[pixels].to_numpy()).view(-1, side, side)
    return images, labels if labels is None else torch.from_numpy(labels.to_numpy(np.int64))
