"""Reading images, predicting their classes, and writing the predictions."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.cli.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

FULL, SUBMISSION = "full", "submission"


def read(path: Path, data: dict) -> tuple[list[str], Tensor, Tensor | None]:
    """The names of the images, uint8 [N, C, H, W], and labels [N] where the file has them.

    Raises:
        UserError: they cannot be read, or are not of the size that the network takes.
    """
    from experiments.data import csv_images, image_files

    size, labels = data["image_size"], None
    if path.suffix.lower() == ".csv":
        images, labels = csv_images.read(path, data["num_classes"])
        if images.shape[1] != size:
            side = images.shape[1]
            raise UserError(f"{path}: has images of {side}x{side}, the network takes {size}x{size}")
        names = [str(number) for number in range(1, len(images) + 1)]
    else:
        paths = image_files.find(path)
        images, notes = image_files.read(paths, size)
        names = [file.name for file in paths]
        for note in notes:
            print(f"note: {note}", file=sys.stderr)
    return names, images[:, None].expand(-1, data["in_channels"], -1, -1), labels


def predict(network: nn.Module, images: Tensor, batch_size: int) -> Tensor:
    """uint8 [N, C, H, W] -> probabilities [N, K]."""
    import torch

    with torch.inference_mode():
        return torch.cat([network(batch) for batch in images.split(batch_size)])


def full(names: list[str], probabilities: Tensor) -> Iterator[list[str]]:
    """Each image with its class, the probability of that, and of each class."""
    kinds = [f"p{kind}" for kind in range(probabilities.shape[1])]
    yield ["image", "predicted", "probability", *kinds]
    rows = zip(names, probabilities.argmax(1).tolist(), probabilities.tolist(), strict=True)
    for name, kind, chances in rows:
        yield [name, str(kind), *(f"{chance:.6f}" for chance in (chances[kind], *chances))]


def submission(names: list[str], probabilities: Tensor) -> Iterator[list[str]]:
    """What the Digit Recognizer competition takes."""
    yield ["ImageId", "Label"]
    for number, kind in enumerate(probabilities.argmax(1).tolist(), start=1):
        yield [str(number), str(kind)]


def as_csv(rows: Iterable[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
