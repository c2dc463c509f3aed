"""The files of the Digit Recognizer competition, made from MNIST."""

from io import BytesIO
from pathlib import Path

import pyarrow
import torch
from omegaconf import DictConfig
from pyarrow.csv import WriteOptions, write_csv

from experiments.cli.errors import UserError
from experiments.cli.files import write
from experiments.data.csv_images import LABEL
from experiments.data.images import load

FILES = "train.csv", "test.csv", "truth.csv"


def make(cfg: DictConfig) -> None:
    """Write train.csv, test.csv and truth.csv, each whole or not at all. UserError: the folder
    cannot be written or has such files, or `rows` is out of range."""
    folder, rows = Path(cfg.root), cfg.rows
    for path in (folder / name for name in FILES):
        if path.exists():
            raise UserError(f"{path} exists; remove it, or name another folder with root=")
    data, _ = load(cfg)
    images = torch.cat((data.train.images, data.val.images)).flatten(1)
    labels = torch.cat((data.train.labels, data.val.labels)).byte()
    if rows >= (total := len(labels)):
        raise UserError(f"rows must be below {total:,}, the number of images, not {rows:,}")
    order = torch.randperm(total, generator=torch.Generator().manual_seed(cfg.seed))
    columns = torch.cat((labels[:, None], images), 1)[order].T.contiguous().numpy()
    table = pyarrow.table([*columns], [LABEL, *(f"pixel{i}" for i in range(len(columns) - 1))])
    parts = table[:rows], table[rows:].drop_columns(LABEL), table[rows:]
    for name, part in zip(FILES, parts, strict=True):
        write_csv(part, content := BytesIO(), WriteOptions(quoting_header="none"))
        write(folder / name, content.getvalue())
    print(f"{folder}: {rows:,} rows in train.csv, {total - rows:,} in test.csv and truth.csv")
