"""The files of the Digit Recognizer competition, made from MNIST."""

import tempfile
from pathlib import Path

import pyarrow
import torch
from omegaconf import DictConfig
from pyarrow.csv import WriteOptions, write_csv
from torch import Tensor

from experiments.cli.config import require_int
from experiments.cli.errors import UserError
from experiments.data.images import load
from experiments.data.submission import COLUMNS, TRUTH

TRAIN, TEST = "train.csv", "test.csv"


def make(cfg: DictConfig) -> None:
    """Write train.csv, test.csv and truth.csv: all three or none.

    Raises:
        UserError: the folder cannot be written or has such files, or `rows` is out of range.
    """
    folder, seed, rows = Path(cfg.root), require_int(cfg, "seed", 0), require_int(cfg, "rows", 1)
    for name in (TRAIN, TEST, TRUTH):
        if (folder / name).exists():
            raise UserError(f"{folder / name} exists; remove it, or name another folder with root=")
    data, _ = load(cfg)
    images = torch.cat((data.train.images, data.val.images)).flatten(1)
    labels = torch.cat((data.train.labels, data.val.labels))
    if rows >= len(labels):
        raise UserError(f"rows must be below {len(labels):,}, the number of images, not {rows:,}")
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    images, labels = images[order], labels[order]
    pixels = [f"pixel{i}" for i in range(images.shape[1])]
    numbers = torch.arange(1, len(labels) - rows + 1)
    labelled = torch.cat((labels[:rows, None].byte(), images[:rows]), dim=1)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".made-") as temporary:
            _write(Path(temporary, TRAIN), ["label", *pixels], labelled)
            _write(Path(temporary, TEST), pixels, images[rows:])
            _write(Path(temporary, TRUTH), COLUMNS, torch.stack((numbers, labels[rows:]), dim=1))
            for path in Path(temporary).iterdir():
                path.rename(folder / path.name)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from error
    print(f"{folder}: {rows:,} rows in {TRAIN}, {len(labels) - rows:,} in {TEST} and {TRUTH}")


def _write(path: Path, columns: list[str], rows: Tensor) -> None:
    """Write whole numbers [N, M] as CSV."""
    arrays = [pyarrow.array(column.contiguous().numpy()) for column in rows.T]
    with path.open("wb") as file:
        file.write(f"{','.join(columns)}\n".encode())  # pyarrow would put it into quotes
        write_csv(pyarrow.table(arrays, columns), file, WriteOptions(include_header=False))
