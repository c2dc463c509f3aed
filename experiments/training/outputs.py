"""The files that a run leaves: figures and tables to look at, and its weights as a model."""

import math
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from mlflow.entities import LoggedModelStatus
from mlflow.models import Model
from omegaconf import OmegaConf
from sklearn.metrics import ConfusionMatrixDisplay, classification_report, confusion_matrix
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.utils import make_grid

from experiments.data.images import Images
from experiments.tracking.artifacts import CONFIG, WEIGHTS
from experiments.tracking.run import TrackedRun
from experiments.training import image_classifier
from experiments.training.history import History
from experiments.training.resume import Training
from models.lightning.classifier import Classifier

PER_CLASS = "per_class.csv"
GALLERY, COLUMNS = 100, 10  # images shown at most, and side by side
CAPTION, GAP = 8, 4  # pixels for a caption, and between images
NUMBERED = 30  # classes, up to which the counts of a confusion matrix are legible


@torch.no_grad()
def log_artifacts(
    training: Training,
    index: int,
    module: Classifier,
    judged: Images,
    predicted: Tensor,
    history: History,
) -> None:
    """Log the figures, tables and texts of run `index` of a history, and its weights.

    Args:
        module: with the weights to export; afterwards on the CPU.
        judged: the images that these weights are judged by.
        predicted: int64 [N], their classes as the module sees them.
    """
    module.cpu()
    cfg, run = training.cfg, history.runs[index]
    images, truth = judged.to(torch.device("cpu"))
    wrong, losses = truth != predicted, torch.cat(history.losses)[:, index]
    pictures = {
        "loss": loss_curve(losses, history.batches),
        "confusion_matrix": draw_confusion(truth, predicted, cfg.data.num_classes),
        "misclassified": gallery(images[wrong], truth[wrong], predicted[wrong]),
        "predictions": gallery(images, truth, predicted),
    }
    # without the store, whose address may hold credentials
    described = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "tracking"])
    texts = {
        "summary.txt": training.cost.summary,
        PER_CLASS: per_class(truth, predicted),
        CONFIG: OmegaConf.to_yaml(described, resolve=True),
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, figure in pictures.items():
            figure.savefig(Path(folder, f"{name}.png"), dpi=120)
        for name, text in texts.items():
            Path(folder, name).write_text(text, encoding="utf-8")
        torch.save(module.network.state_dict(), Path(folder, WEIGHTS))
        run.store.patiently(run.client.log_artifacts, run.id, folder)
    if cfg.tracking.model:
        network = nn.Sequential(module.normalize, module.network).eval()
        epoch = history.exported_epoch(index)
        run.store.patiently(log_model, run, network, images[:2].float(), epoch)


def per_class(truth: Tensor, predicted: Tensor) -> str:
    """How well each class is recognised, as CSV, and the mean over the classes.

    Of the `support` images of a class, `right` were classified as it; their share is the recall,
    which is the accuracy on that class. Classes that are neither true nor predicted are left out.
    Labels: int64 [N].
    """
    report = classification_report(truth, predicted, output_dict=True, zero_division=0)
    del report["accuracy"], report["weighted avg"]
    table = pd.DataFrame(report).T.rename(index={"macro avg": "mean"}, columns={"f1-score": "f1"})
    table["right"] = (table.recall * table.support).round()
    table.loc["mean", "right"] = (truth == predicted).sum().item()
    table = table.astype({"right": int, "support": int}).rename_axis("class")
    return table[["right", "support", "precision", "recall", "f1"]].to_csv(float_format="%.4f")


def log_model(run: TrackedRun, network: nn.Module, examples: Tensor, epoch: int) -> None:
    """Log a network as the run's model: the only one, whatever was interrupted.

    `examples`: see `image_classifier.save_model`; `epoch`: that of its weights, from 1.
    """
    model = run.model()
    if model.status == LoggedModelStatus.READY:
        return
    about = Model(model_uuid=model.model_id, model_id=model.model_id, run_id=run.id)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model")
        image_classifier.save_model(path, about, network, examples)
        run.client.log_model_artifacts(model.model_id, str(path))
    run.complete(model, epoch)


def loss_curve(losses: Tensor, batches: int) -> Figure:
    """Training loss by iteration, and its running mean over a fiftieth of the iterations.

    losses: float [P], each the mean of the same number of all the `batches`.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    axes = figure.subplots()
    index = np.linspace(batches / len(losses), batches, len(losses))
    table = pd.DataFrame({"each": losses}, index=pd.Index(index, name="iteration"))
    window = math.ceil(len(losses) / 50)
    mean = table["each"].rolling(window, min_periods=1).mean()
    table[f"mean of {window * batches // len(losses):,}"] = mean
    table.plot(ax=axes, title="training loss", grid=True)
    axes.lines[0].set(linewidth=0.4, alpha=0.5)
    return figure


def draw_confusion(truth: Tensor, predicted: Tensor, num_classes: int) -> Figure:
    """Counts of [truth, prediction]; colours show mistakes only. Labels: int64 [N]."""
    side = max(5.0, 0.45 * num_classes)
    figure = Figure(figsize=(side + 0.5, side), layout="constrained")
    axes = figure.subplots()
    counts = confusion_matrix(truth, predicted, labels=range(num_classes))
    display = ConfusionMatrixDisplay(counts)
    numbers, style = num_classes <= NUMBERED, {"color": "black", "fontsize": 8}
    display.plot(include_values=numbers, cmap="Reds", ax=axes, colorbar=False, text_kw=style)
    mistakes = counts - np.diag(counts.diagonal())
    # half of the colours, so that the counts stay legible
    display.im_.set(data=mistakes, clim=(0, 2 * mistakes.max() or 1))
    axes.set_title(f"{counts.trace():,} of {len(truth):,} right")
    return figure


def gallery(images: Tensor, truth: Tensor, predicted: Tensor) -> Figure:
    """The first images in rows of ten, "predicted (true)" above each: green if right, else red.

    images: uint8 [N, C, H, W], with one channel 0 is black; labels: int64 [N].
    """
    total, (height, width) = len(images), images.shape[2:]
    images, truth, predicted = (each[:GALLERY] for each in (images, truth, predicted))
    empty = -len(images) % COLUMNS if len(images) else COLUMNS
    # a caption above each image, and white ones to the end of the last row
    cells = F.pad(images, (0, 0, CAPTION, 0, 0, 0, 0, empty), value=255)
    grid = make_grid(cells, nrow=COLUMNS, padding=GAP, pad_value=255)
    size = COLUMNS, COLUMNS * grid.shape[1] / grid.shape[2] + 0.5
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.axis("off")
    axes.set_title(f"{len(images):,} of {total:,} images; above each: predicted (true)")
    axes.imshow(grid.permute(1, 2, 0).numpy())
    for place, (guess, true) in enumerate(zip(predicted.tolist(), truth.tolist(), strict=True)):
        row, column = divmod(place, COLUMNS)
        x = GAP + column * (width + GAP) + width / 2
        y = GAP + row * (height + CAPTION + GAP) + CAPTION / 2
        colour = "green" if guess == true else "red"
        axes.text(x, y, f"{guess} ({true})", color=colour, ha="center", va="center", fontsize=9)
    return figure
