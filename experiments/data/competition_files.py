"""The files of the Digit Recognizer competition: made from MNIST, read and scored."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from experiments.cli.config import require_int
from experiments.cli.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

TRAIN, TEST, TRUTH = "train.csv", "test.csv", "truth.csv"
HEADER = "ImageId,Label"


def make(cfg: DictConfig) -> None:
    """Write train.csv, test.csv and truth.csv, or none of them.

    Raises:
        UserError: the folder cannot be written or has such files, or the split is none.
    """
    import torch

    from experiments.data.images import load

    folder, seed = Path(cfg.root), require_int(cfg, "seed", 0)
    for name in (TRAIN, TEST, TRUTH):
        if (folder / name).exists():
            raise UserError(f"{folder / name} exists; remove it, or name another folder with root=")
    data, _ = load(cfg)
    images = torch.cat((data.train.images, data.val.images)).flatten(1)
    labels = torch.cat((data.train.labels, data.val.labels))
    rows = require_int(cfg, "rows", 1)
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
            place = Path(temporary)
            write(place / TRAIN, ",".join(["label", *pixels]), labelled)
            write(place / TEST, ",".join(pixels), images[rows:])
            write(place / TRUTH, HEADER, torch.stack((numbers, labels[rows:]), dim=1))
            for path in place.iterdir():
                path.rename(folder / path.name)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror or error}") from error
    print(f"{folder}: {rows:,} rows in {TRAIN}, {len(labels) - rows:,} in {TEST} and {TRUTH}")


def write(path: Path, header: str, rows: Tensor) -> None:
    """Write whole numbers [N, M] beneath a header."""
    import pyarrow
    import pyarrow.csv

    columns = [pyarrow.array(column.contiguous().numpy()) for column in rows.T]
    table = pyarrow.table(columns, names=header.split(","))
    with path.open("wb") as file:
        file.write(f"{header}\n".encode())
        pyarrow.csv.write_csv(table, file, pyarrow.csv.WriteOptions(include_header=False))


def score(submission: Path, truth: Path) -> tuple[float, int]:
    """How many of the labels of a submission are right, from 0 to 1; of how many images.

    Raises:
        UserError: a file is missing, or is no submission for all images.
    """
    if not truth.exists():
        raise UserError(f"{truth} is missing; python -m experiments.competition makes it")
    given, expected = read(submission), read(truth)
    if given.keys() != expected.keys():
        odd = sorted(given.keys() ^ expected.keys())[0]
        problem = "is not there" if odd in expected else "does not exist"
        raise UserError(
            f"{submission}: must have a row for each ImageId from 1 to {len(expected):,}; "
            f"{odd} {problem}"
        )
    right = sum(given[number] == label for number, label in expected.items())
    return right / len(expected), len(expected)


def read(path: Path) -> dict[int, int]:
    """The label of each image by its number, from a file of ImageId,Label.

    Raises:
        UserError: the file is none, or says something twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    if lines[:1] != [HEADER]:
        raise UserError(f"{path}: its first line must be {HEADER}")
    labels: dict[int, int] = {}
    for place, line in enumerate(lines[1:], start=2):
        cells = line.split(",")
        if len(cells) != 2 or not all(cell.isascii() and cell.isdigit() for cell in cells):
            raise UserError(f"{path}: line {place} must be two whole numbers, not {line[:40]!r}")
        number, label = map(int, cells)
        if number in labels:
            raise UserError(f"{path}: line {place}: ImageId {number} is there twice")
        labels[number] = label
    return labels
