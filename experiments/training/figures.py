"""The pictures that a run leaves."""

import math

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn import metrics
from torch import Tensor
from torch.nn import functional as F
from torchvision.utils import make_grid

GALLERY, COLUMNS = 100, 10  # images shown at most, and side by side
CAPTION, GAP = 8, 4  # pixels for a caption, and between images
NUMBERED = 30  # classes, up to which the counts of a confusion matrix are legible


def learning_curves(epochs: list[dict[str, float]]) -> Figure:
    """Loss and accuracy by epoch; `epochs[i]` has the metrics of epoch i + 1."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    numbers = range(1, len(epochs) + 1)
    left, right = figure.subplots(1, 2)
    for axes, name, title, scale in ((left, "loss", "loss", 1), (right, "acc", "accuracy, %", 100)):
        for stage, label in (("train", "training"), ("val", "validation")):
            values = [row[f"{stage}/{name}"] * scale for row in epochs]
            axes.plot(numbers, values, marker="o", markersize=3, label=label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        _finish(axes, "epoch", title)
    return figure


def loss_curve(losses: Tensor, each: int) -> Figure:
    """Training loss by iteration, and its mean over a fiftieth of the iterations at a time.

    losses: float [P], each the mean of `each` iterations.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots()
    iterations = torch.arange(1, len(losses) + 1) * each
    axes.plot(iterations, losses, linewidth=0.4, alpha=0.5, label="each")
    window = math.ceil(len(losses) / 50)
    means = [part.mean() for part in losses.split(window)]
    middles = [part.float().mean() for part in iterations.split(window)]
    axes.plot(middles, means, label=f"mean of {window * each:,}")
    _finish(axes, "iteration", "training loss")
    return figure


def confusion_matrix(truth: Tensor, predicted: Tensor, num_classes: int) -> Figure:
    """Counts of [truth, prediction]; colours show mistakes only. Labels: int64 [N]."""
    counts = metrics.confusion_matrix(truth, predicted, labels=range(num_classes))
    mistakes = counts.copy()
    np.fill_diagonal(mistakes, 0)
    side = max(5.0, 0.45 * num_classes)
    figure = Figure(figsize=(side + 0.5, side), layout="constrained")
    axes = figure.subplots()
    display = metrics.ConfusionMatrixDisplay(counts).plot(
        ax=axes,
        cmap="Reds",
        colorbar=False,
        include_values=num_classes <= NUMBERED,
        text_kw={"color": "black", "fontsize": 8},
    )
    # half of the colours, so that the counts stay legible
    display.im_.set(data=mistakes, clim=(0, 2 * mistakes.max() or 1))
    axes.set_title(f"{counts.trace():,} of {len(truth):,} right")
    return figure


def misclassified(images: Tensor, truth: Tensor, predicted: Tensor) -> Figure:
    """The misclassified images, "true → predicted" above each.

    images: uint8 [N, C, H, W]; labels: int64 [N].
    """
    wrong = (truth != predicted).nonzero().flatten()
    shown = wrong[:GALLERY]
    more = f", the first {GALLERY} of them" if len(wrong) > GALLERY else ""
    title = f"{len(wrong):,} of {len(truth):,} wrong{more}; above each: true → predicted"
    return wall(images[shown], [f"{truth[i]} → {predicted[i]}" for i in shown], title)


def predictions(images: Tensor, truth: Tensor, predicted: Tensor) -> Figure:
    """The first images, "predicted (true)" above each: green where right, red where wrong.

    images: uint8 [N, C, H, W]; labels: int64 [N].
    """
    captions = [
        (f"{guess} ({true})", "green" if guess == true else "red")
        for guess, true in zip(predicted[:GALLERY].tolist(), truth[:GALLERY].tolist(), strict=True)
    ]
    title = f"the first {len(captions)} images; above each: predicted (true)"
    return wall(images[:GALLERY], captions, title)


def wall(images: Tensor, captions: list[str] | list[tuple[str, str]], title: str) -> Figure:
    """Images in rows of ten, with a caption above each.

    Args:
        images: uint8 [N, C, H, W]; with one channel, 0 is black.
        captions: of each image, a text, or a text and its colour.
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
        text, colour = (caption, "black") if isinstance(caption, str) else caption
        row, column = divmod(place, COLUMNS)
        x = GAP + column * (width + GAP) + width / 2
        y = GAP + row * (height + CAPTION + GAP) + CAPTION / 2
        axes.text(x, y, text, color=colour, ha="center", va="center", fontsize=9)
    return figure


def _finish(axes: Axes, x: str, title: str) -> None:
    axes.set(xlabel=x, title=title)
    axes.grid(alpha=0.3)
    axes.legend()
