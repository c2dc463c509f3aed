"""The files that a run leaves: figures and tables to look at, and its weights as a model."""

import tempfile
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch
from mlflow.entities import LoggedModelStatus
from mlflow.models import Model
from omegaconf import DictConfig, OmegaConf
from sklearn.metrics import precision_recall_fscore_support
from sklearn.utils.multiclass import unique_labels
from torch import Tensor, nn

from experiments.budget.cost import Cost
from experiments.data.images import Images
from experiments.tracking.run import CONFIG, WEIGHTS, TrackedRun
from experiments.training import figures, image_classifier
from models.lightning.classifier import Classifier

MISTAKES, PER_CLASS = "mistakes.csv", "per_class.csv"
MODEL_PACKAGES = ("torch", "numpy")  # what the exported model needs to run


@torch.no_grad()
def log_artifacts(
    cfg: DictConfig,
    run: TrackedRun,
    cost: Cost,
    module: Classifier,
    judged: Images,
    predicted: Tensor,
    epochs: list[dict[str, float]],
    losses: Tensor,
    batches: int,
) -> None:
    """Log the figures, tables and texts of a trained run, and its weights.

    Args:
        module: with the weights to export; afterwards on the CPU.
        judged: the images that these weights are judged by.
        predicted: int64 [N], their classes as the module sees them.
        epochs: the metrics of each epoch.
        losses: float [P], of the training batches, or means of several at a time.
        batches: number of all training batches.
    """
    module.cpu()
    images, truth = judged.to(torch.device("cpu"))
    wrong = truth != predicted
    pictures = {
        "learning_curves": figures.learning_curves(epochs),
        "loss": figures.loss_curve(losses, batches),
        "confusion_matrix": figures.confusion_matrix(truth, predicted, cfg.data.num_classes),
        "misclassified": figures.gallery(images[wrong], truth[wrong], predicted[wrong]),
        "predictions": figures.gallery(images, truth, predicted),
    }
    # without the store, whose address may hold credentials
    described = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "tracking"])
    texts = {
        "summary.txt": cost.summary,
        MISTAKES: mistakes(truth, predicted),
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
        epoch = "epochs" if cfg.data.holdout is None else "val/best_epoch"
        run.store.patiently(log_model, run, network, images[:2].float(), epoch)


def mistakes(truth: Tensor, predicted: Tensor) -> str:
    """The misclassified images as CSV: image (from 0), true, predicted. Labels: int64 [N]."""
    table = pd.DataFrame({"true": truth, "predicted": predicted}).rename_axis("image")
    return table.query("true != predicted").to_csv()


def per_class(truth: Tensor, predicted: Tensor) -> str:
    """How well each class is recognised, as CSV, and the mean over the classes.

    Of the `support` images of a class, `right` were classified as it; their share is the recall,
    which is the accuracy on that class. Classes that are neither true nor predicted are left out.
    Labels: int64 [N].
    """
    truth, predicted = truth.numpy(), predicted.numpy()
    scores = precision_recall_fscore_support(truth, predicted, zero_division=0)
    table = pd.DataFrame(
        dict(zip(("precision", "recall", "f1", "support"), scores, strict=True)),
        index=pd.Index(unique_labels(truth, predicted), name="class"),
    )
    table["right"] = (table.recall * table.support).round()
    counts, shares = ["right", "support"], ["precision", "recall", "f1"]
    table.loc["mean"] = pd.concat((table[counts].sum(), table[shares].mean()))
    return table.astype(dict.fromkeys(counts, int))[counts + shares].to_csv(float_format="%.4f")


def log_model(run: TrackedRun, network: nn.Module, examples: Tensor, last: str) -> None:
    """Log a network as the run's model: the only one, whatever was interrupted.

    Args:
        network, examples: see `image_classifier.save_model`.
        last: the metric that says of which epoch its weights are.
    """
    model = run.model()
    if model.status == LoggedModelStatus.READY:
        return
    packages = [f"{name}=={version(name)}" for name in MODEL_PACKAGES]
    about = Model(model_uuid=model.model_id, model_id=model.model_id, run_id=run.id)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model")
        image_classifier.save_model(path, about, network, examples, packages)
        run.client.log_model_artifacts(model.model_id, str(path))
    run.complete(model, last)
