"""The files of the Digit Recognizer competition, made from MNIST."""

from io import BytesIO
from pathlib import Path

import pyarrow
import torch
from omegaconf import DictConfig
from pyarrow.csv import WriteOptions, write_csv

from experiments.cli.errors import UserError
from experiments.cli.files import write
from experiments.data.images import load
from experiments.data.submission import COLUMNS, TRUTH

TRAIN, TEST = "train.csv", "test.csv"


def make(cfg: DictConfig) -> None:
    """Write train.csv, test.csv and truth.csv, each whole or not at all.

    Raises:
        UserError: the folder cannot be written or has such files, or `rows` is out of range.
    """
    folder, seed, rows = Path(cfg.root), cfg.seed, cfg.rows
    for name in (TRAIN, TEST, TRUTH):
        if (folder / name).exists():
            raise UserError(f"{folder / name} exists; remove it, or name another folder with root=")
    data, _ = load(cfg)
    images = torch.cat((data.train.images, data.val.images)).flatten(1)
    labels = torch.cat((data.train.labels, data.val.labels))
    rest = len(labels) - rows
    if rest < 1:
        raise UserError(f"rows must be below {len(labels):,}, the number of images, not {rows:,}")
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    images, labels = images[order], labels[order]
    pixels = [f"pixel{i}" for i in range(images.shape[1])]
    files = {
        TRAIN: (["label", *pixels], [labels[:rows].byte(), *images[:rows].T]),
        TEST: (pixels, images[rows:].T),
        TRUTH: (COLUMNS, [torch.arange(1, rest + 1), labels[rows:]]),
    }
    for name, (header, columns) in files.items():
        table = pyarrow.table([column.contiguous().numpy() for column in columns], header)
        write_csv(table, content := BytesIO(), WriteOptions(quoting_header="none"))
        write(folder / name, content.getvalue())
    print(f"{folder}: {rows:,} rows in {TRAIN}, {rest:,} in {TEST} and {TRUTH}")
