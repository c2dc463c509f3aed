"""Read images, predict their classes, and show or write the predictions."""

import sys
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from experiments.cli import tables
from experiments.cli.errors import UserError
from experiments.cli.text import percent
from experiments.data import csv_images
from experiments.deployment import image_files

ROWS = 50  # shown on the terminal


def read_input(path: Path, data: dict) -> tuple[list[str], Tensor, Tensor | None]:
    """The names of the images, uint8 [N, C, H, W], and labels [N] if the file has them. UserError:
    they cannot be read, or do not have the size that the network takes."""
    size, labels = data["image_size"], None
    if path.suffix.lower() == ".csv":
        images, labels = csv_images.read_csv_images(path, data["num_classes"])
        if (side := images.shape[1]) != size:
            raise UserError(f"{path}: has images of {side}x{side}, the network takes {size}x{size}")
        names = [str(number) for number in range(1, len(images) + 1)]
    else:
        paths = image_files.find_image_files(path)
        pixels, notes = image_files.read_image_files(paths, size)
        images, names = torch.from_numpy(pixels), [file.name for file in paths]
        for note in notes:
            print(f"note: {note}", file=sys.stderr)
    return names, images[:, None].expand(-1, data["in_channels"], -1, -1), labels


def predict_probabilities(network: nn.Module, images: Tensor, batch_size: int) -> Tensor:
    """uint8 [N, C, H, W] -> probabilities [N, K]."""
    with torch.inference_mode():
        return torch.cat([network(batch) for batch in images.split(batch_size)])


def full(names: list[str], probabilities: Tensor) -> str:
    """CSV: each image with its class, the probability of that class, and of every class."""
    highest, predicted = probabilities.max(1)
    table = pd.DataFrame({"image": names, "predicted": predicted, "probability": highest})
    table = table.join(pd.DataFrame(probabilities.numpy()).add_prefix("p"))
    return tables.to_csv(table, "%.6f")


def submission(names: list[str], probabilities: Tensor) -> str:
    """CSV as the Digit Recognizer competition takes it: images are numbered from 1."""
    labels = {"ImageId": range(1, len(names) + 1), "Label": probabilities.argmax(1)}
    return pd.DataFrame(labels).to_csv(index=False)


def print_predictions(names: list[str], probabilities: Tensor) -> None:
    """Print the most and the second most probable class of each image."""
    chances, classes = probabilities[:ROWS].topk(2)
    rows = [
        (name, str(int(first)), percent(high), str(int(second)), percent(low))
        for name, (high, low), (first, second) in zip(names, chances, classes, strict=False)
    ]
    header = ("image", "predicted", "probability", "second", "probability")
    tables.show(header, rows, right=header[1:])
    if len(names) > ROWS:
        print(f"and {len(names) - ROWS:,} more; output=FILE.csv has all")
