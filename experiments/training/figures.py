"""The pictures that a run leaves behind."""

import math

import torch
from matplotlib.figure import Figure
from torch import Tensor

GALLERY, COLUMNS = 100, 10  # images shown at most, and side by side
CAPTION, GAP = 10, 4  # pixels above and between them


def learning_curves(epochs: list[dict[str, float]]) -> Figure:
    """Loss and accuracy over the epochs; `epochs[i]` has the metrics of epoch i + 1."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    numbers = range(1, len(epochs) + 1)
    left, right = figure.subplots(1, 2)
    for axes, name, title, scale in ((left, "loss", "loss", 1), (right, "acc", "accuracy, %", 100)):
        for stage, label in (("train", "training"), ("val", "validation")):
            values = [row[f"{stage}/{name}"] * scale for row in epochs]
            axes.plot(numbers, values, marker="o", markersize=3, label=label)
        axes.set(xlabel="epoch", title=title)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def confusion_matrix(truth: Tensor, predicted: Tensor, num_classes: int) -> Figure:
    """Counts of [truth, prediction]; colours show mistakes only. Labels: int64 [N]."""
    counts = torch.bincount(truth * num_classes + predicted, minlength=num_classes**2)
    counts = counts.view(num_classes, num_classes)
    mistakes = counts - torch.diag(counts.diag())
    side = max(5.0, 0.45 * num_classes)
    figure = Figure(figsize=(side + 0.5, side), layout="constrained")
    axes = figure.subplots()
    # half of the colours, so that the counts stay legible
    axes.imshow(mistakes, cmap="Reds", vmin=0, vmax=2 * int(mistakes.max()) or 1)
    if num_classes <= 30:  # more figures would not be legible
        for row, column in counts.nonzero().tolist():
            bold = "bold" if row == column else "normal"
            count = int(counts[row, column])
            axes.text(column, row, count, ha="center", va="center", fontsize=8, fontweight=bold)
    right = int(counts.diag().sum())
    axes.set(
        xlabel="predicted",
        ylabel="true",
        xticks=range(num_classes),
        yticks=range(num_classes),
        title=f"{right:,} of {len(truth):,} right",
    )
    return figure


def loss_curve(losses: Tensor, each: int) -> Figure:
    """Training loss over the iterations, and its mean over a fiftieth of them at a time.

    losses: float [P], each the mean of `each` iterations.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots()
    iterations = torch.arange(1, len(losses) + 1) * each
    axes.plot(iterations, losses, linewidth=0.4, alpha=0.5, label="each")
    window = math.ceil(len(losses) / 50)
    means = torch.stack([part.mean() for part in losses.split(window)])
    middles = torch.stack([part.float().mean() for part in iterations.split(window)])
    axes.plot(middles, means, label=f"mean of {window * each:,}")
    axes.set(xlabel="iteration", title="training loss")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def misclassified(images: Tensor, truth: Tensor, predicted: Tensor) -> Figure:
    """The images that were read wrong, "true → predicted" above each.

    images: uint8 [N, C, H, W]; labels: int64 [N].
    """
    wrong = (truth != predicted).nonzero().flatten().tolist()
    count = f"{len(wrong):,} of {len(truth):,} wrong"
    more = f", the first {GALLERY} of them" if len(wrong) > GALLERY else ""
    captions = [(f"{truth[i]} → {predicted[i]}", "black") for i in wrong[:GALLERY]]
    title = f"{count}{more}; above each: true → predicted"
    return wall(images[wrong[:GALLERY]], captions, title)


def predictions(images: Tensor, truth: Tensor, predicted: Tensor) -> Figure:
    """The first images, "predicted (true)" above each: green where right, red where wrong.

    images: uint8 [N, C, H, W]; labels: int64 [N].
    """
    shown = [
        (f"{guess} ({true})", "green" if guess == true else "red")
        for guess, true in zip(predicted[:GALLERY].tolist(), truth[:GALLERY].tolist(), strict=True)
    ]
    title = f"the first {len(shown)} images; above each: predicted (true)"
    return wall(images[:GALLERY], shown, title)


def wall(images: Tensor, captions: list[tuple[str, str]], title: str) -> Figure:
    """Images in rows, with a text in a colour above each. images: uint8 [N, C, H, W]."""
    height, width = images.shape[2] + CAPTION, images.shape[3] + GAP
    rows = max(1, math.ceil(len(images) / COLUMNS))
    canvas = torch.full((rows * height, COLUMNS * width, images.shape[1]), 255, dtype=torch.uint8)
    figure = Figure(figsize=(COLUMNS, rows * height / width + 0.5), layout="constrained")
    axes = figure.subplots()
    axes.axis("off")
    axes.set_title(title)
    for place, (image, (caption, colour)) in enumerate(zip(images, captions, strict=True)):
        top, left = place // COLUMNS * height, place % COLUMNS * width
        canvas[top + CAPTION : top + height, left : left + width - GAP] = image.permute(1, 2, 0)
        where = (left + (width - GAP) / 2, top + CAPTION / 2)
        axes.text(*where, caption, color=colour, ha="center", va="center", fontsize=9)
    axes.imshow(canvas.squeeze(-1), cmap="gray", vmin=0, vmax=255)
    return figure
