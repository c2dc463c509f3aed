"""The pictures that a run leaves."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from sklearn.metrics import ConfusionMatrixDisplay
from torch import Tensor
from torch.nn import functional as F
from torchvision.utils import make_grid

GALLERY, COLUMNS = 100, 10  # images shown at most, and side by side
CAPTION, GAP = 8, 4  # pixels for a caption, and between images
NUMBERED = 30  # classes, up to which the counts of a confusion matrix are legible


def learning_curves(epochs: list[dict[str, float]]) -> Figure:
    """Loss and accuracy by epoch; `epochs[i]` has the metrics of epoch i + 1."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    table = pd.DataFrame(epochs, index=pd.RangeIndex(1, len(epochs) + 1, name="epoch"))
    table[["train/acc", "val/acc"]] *= 100
    titles = {"loss": "loss", "acc": "accuracy, %"}
    for axes, (name, title) in zip(figure.subplots(1, 2), titles.items(), strict=True):
        columns = {f"train/{name}": "training", f"val/{name}": "validation"}
        lines = table[list(columns)].rename(columns=columns)
        lines.plot(ax=axes, title=title, marker=".", grid=True)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


def loss_curve(losses: Tensor, batches: int) -> Figure:
    """Training loss by iteration, and its running mean over a fiftieth of the iterations.

    Args:
        losses: float [P], each the mean of the same number of iterations.
        batches: number of all iterations.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots()
    index = np.linspace(batches / len(losses), batches, len(losses))
    table = pd.Series(losses.numpy(), index=pd.Index(index, name="iteration"))
    window = math.ceil(len(losses) / 50)
    table.plot(ax=axes, title="training loss", linewidth=0.4, alpha=0.5, label="each")
    mean = table.rolling(window, min_periods=1).mean()
    mean.plot(ax=axes, label=f"mean of {window * batches // len(losses):,}")
    axes.grid()
    axes.legend()
    return figure


def confusion_matrix(truth: Tensor, predicted: Tensor, num_classes: int) -> Figure:
    """Counts of [truth, prediction]; colours show mistakes only. Labels: int64 [N]."""
    side = max(5.0, 0.45 * num_classes)
    figure = Figure(figsize=(side + 0.5, side), layout="constrained")
    axes = figure.subplots()
    display = ConfusionMatrixDisplay.from_predictions(
        truth,
        predicted,
        labels=range(num_classes),
        ax=axes,
        cmap="Reds",
        colorbar=False,
        include_values=num_classes <= NUMBERED,
        text_kw={"color": "black", "fontsize": 8},
    )
    mistakes = display.confusion_matrix - np.diag(display.confusion_matrix.diagonal())
    # half of the colours, so that the counts stay legible
    display.im_.set(data=mistakes, clim=(0, 2 * mistakes.max() or 1))
    axes.set_title(f"{(truth == predicted).sum():,} of {len(truth):,} right")
    return figure


def gallery(images: Tensor, truth: Tensor, predicted: Tensor) -> Figure:
    """The first images, "predicted (true)" above each: green where right, red where wrong.

    images: uint8 [N, C, H, W]; labels: int64 [N].
    """
    right = (truth == predicted)[:GALLERY]
    pairs = zip(predicted[:GALLERY].tolist(), truth[:GALLERY].tolist(), strict=True)
    captions = [f"{guess} ({true})" for guess, true in pairs]
    title = f"{len(right):,} of {len(truth):,} images; above each: predicted (true)"
    colours = ["green" if each else "red" for each in right]
    return wall(images[:GALLERY], captions, title, colours)


def wall(
    images: Tensor, captions: Sequence[str], title: str, colours: Sequence[str] | None = None
) -> Figure:
    """Images in rows of ten, with a caption above each.

    Args:
        images: uint8 [N, C, H, W]; with one channel, 0 is black.
        captions: of each image.
        colours: of each caption.
    """
    count, channels, height, width = images.shape
    rows = max(1, math.ceil(count / COLUMNS))
    empty = images.new_full((rows * COLUMNS - count, channels, height, width), 255)
    cells = F.pad(torch.cat((images, empty)), (0, 0, CAPTION, 0), value=255)
    grid = make_grid(cells, nrow=COLUMNS, padding=GAP, pad_value=255)
    size = COLUMNS, COLUMNS * grid.shape[1] / grid.shape[2] + 0.5
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.axis("off")
    axes.set_title(title)
    axes.imshow(grid.permute(1, 2, 0).numpy())
    for place, caption in enumerate(captions):
        row, column = divmod(place, COLUMNS)
        x = GAP + column * (width + GAP) + width / 2
        y = GAP + row * (height + CAPTION + GAP) + CAPTION / 2
        colour = colours[place] if colours else "black"
        axes.text(x, y, caption, color=colour, ha="center", va="center", fontsize=9)
    return figure
