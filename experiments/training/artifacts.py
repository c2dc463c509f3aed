"""The files that a run leaves: figures and tables to look at, and its best weights as a model."""

import copy
import math
import tempfile
from importlib.metadata import version
from pathlib import Path

import mlflow.pytorch
import numpy as np
import torch
from mlflow.models import Model, infer_signature
from omegaconf import DictConfig, OmegaConf
from sklearn.metrics import precision_recall_fscore_support
from torch import Tensor, nn

from experiments.budget.cost import Cost
from experiments.cli.text import against
from experiments.data.images import ImageData, Images
from experiments.tracking.run import CONFIG, WEIGHTS, TrackedRun
from experiments.training import figures
from experiments.training.history import History
from models.lightning.classifier import Classifier

MISTAKES, PER_CLASS = "mistakes.csv", "per_class.csv"
MODEL_PACKAGES = ("torch", "numpy")  # what the exported model needs to run


def log_artifacts(
    cfg: DictConfig,
    run: TrackedRun,
    cost: Cost,
    module: Classifier,
    data: ImageData,
    history: History,
    best: Path,
) -> None:
    """Log the verdict of a trained run, its figures, tables and texts, and its best weights.

    Args:
        module: with the weights of the last epoch.
        best: the checkpoint of the epoch with the highest validation accuracy.
    """
    if verdict := against(history.epochs[-1]["val/acc"], cfg.target.val_acc):
        run.tag("verdict", verdict)
    predicted = predict(module, data.val, data.eval_batch_size).cpu()
    images, truth = data.val.to(torch.device("cpu"))
    losses = torch.cat(history.losses)
    batches = len(history.epochs) * math.ceil(len(data.train.labels) / data.batch_size)
    pictures = {
        "learning_curves": figures.learning_curves(history.epochs),
        "loss": figures.loss_curve(losses, each=round(batches / len(losses))),
        "confusion_matrix": figures.confusion_matrix(truth, predicted, cfg.data.num_classes),
        "misclassified": figures.misclassified(images, truth, predicted),
        "predictions": figures.predictions(images, truth, predicted),
    }
    # without the store, whose address may hold credentials
    described = OmegaConf.masked_copy(cfg, [key for key in cfg if key != "tracking"])
    texts = {
        "summary.txt": cost.summary,
        MISTAKES: mistakes(truth, predicted),
        PER_CLASS: per_class(truth, predicted),
        CONFIG: OmegaConf.to_yaml(described, resolve=True),
    }
    network = copy.deepcopy(module.network).cpu()
    state = torch.load(best, weights_only=True)["state_dict"]
    network.load_state_dict({name.removeprefix("network."): state[name] for name in state})
    with tempfile.TemporaryDirectory() as folder:
        for name, figure in pictures.items():
            figure.savefig(Path(folder, f"{name}.png"), dpi=120)
        for name, text in texts.items():
            Path(folder, name).write_text(text, encoding="utf-8")
        torch.save(network.state_dict(), Path(folder, WEIGHTS))
        run.store.patiently(run.client.log_artifacts, run.id, folder)
    if cfg.tracking.model and not run.models():
        model = nn.Sequential(module.normalize, network).eval()
        run.store.patiently(log_model, run, model, images[:2].float())


@torch.inference_mode()
def predict(module: Classifier, data: Images, batch_size: int) -> Tensor:
    """The class of each image: int64 [N], on the device of the images."""
    module.to(data.images.device).eval()
    return torch.cat(
        [module.learn.outputs(batch).argmax(1) for batch in data.images.split(batch_size)]
    )


def mistakes(truth: Tensor, predicted: Tensor) -> str:
    """The misclassified images as CSV: image (from 0), true, predicted. Labels: int64 [N]."""
    wrong = (truth != predicted).nonzero().flatten()
    rows = torch.stack((wrong, truth[wrong], predicted[wrong]), dim=1).tolist()
    return "\n".join(["image,true,predicted", *(",".join(map(str, row)) for row in rows)]) + "\n"


def per_class(truth: Tensor, predicted: Tensor) -> str:
    """How well each class is recognised, as CSV, and the mean over the classes.

    Of the `support` images of a class, `right` were classified as it; their share is the recall,
    which is the accuracy on that class. Classes that are neither true nor predicted are left out.
    Labels: int64 [N].
    """
    classes, index = torch.cat((truth, predicted)).unique(return_inverse=True)
    true, guess = index.split(len(truth))
    right = true[true == guess].bincount(minlength=len(classes))
    precision, recall, f1, support = precision_recall_fscore_support(true, guess, zero_division=0)
    table = np.stack((right, support, precision, recall, f1), axis=1)
    totals = [*table[:, :2].sum(0), *table[:, 2:].mean(0)]
    rows = [
        "{},{:.0f},{:.0f},{:.4f},{:.4f},{:.4f}".format(name, *row)
        for name, row in zip([*classes.tolist(), "mean"], [*table, totals], strict=True)
    ]
    return "\n".join(["class,right,support,precision,recall,f1", *rows]) + "\n"


def log_model(run: TrackedRun, model: nn.Module, example: Tensor) -> None:
    """Log a network as a graph that loads with neither this project's code nor pickle.

    Args:
        model: float [N, C, H, W], 0 to 255 -> logits [N, K].
        example: two images; with one, the graph would take one at a time.
    """
    mlflow.set_tracking_uri(run.store.uri)
    mlflow.set_experiment(experiment_id=run.store.experiment_id)
    Model.log(
        artifact_path=None,
        flavor=mlflow.pytorch,
        name="model",
        run_id=run.id,
        pytorch_model=model,
        signature=infer_signature(example.numpy(), model(example).detach().numpy()),
        input_example=example.numpy(),
        pip_requirements=[f"{name}=={version(name)}" for name in MODEL_PACKAGES],
        serialization_format="pt2",
    )
