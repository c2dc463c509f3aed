"""What a run leaves for people to look at, and the model that it leaves for programs."""

import copy
import math
import tempfile
from pathlib import Path

import numpy as np
import torch
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torchmetrics.functional.classification import multiclass_stat_scores

from experiments.budget.cost import Cost
from experiments.cli.text import against
from experiments.data.images import ImageData, Images
from experiments.tracking.provenance import installed
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
    """Complete a trained run: figures, pictures and texts of its last epoch, its best weights.

    Args:
        module: with the weights of the last epoch.
        best: the checkpoint of the epoch with the highest validation accuracy.
    """
    run.store.patiently(history.send)
    accuracy, epoch = history.best()
    seconds = sum(row["epoch_seconds"] for row in history.epochs)
    figures_of_run = {"val/best_acc": accuracy, "val/best_epoch": epoch, "train_seconds": seconds}
    run.log_figures(figures_of_run, time=history.ended[-1])
    if verdict := against(history.epochs[-1]["val/acc"], cfg.target.val_acc):
        run.tag("verdict", verdict)

    images, truth = data.val
    predicted = predict(module, data.val, data.eval_batch_size).cpu()
    images, truth = images.cpu(), truth.cpu()
    pictures = {
        "learning_curves": figures.learning_curves(history.epochs),
        "confusion_matrix": figures.confusion_matrix(truth, predicted, cfg.data.num_classes),
        "misclassified": figures.misclassified(images, truth, predicted),
        "predictions": figures.predictions(images, truth, predicted),
    }
    if history.losses:
        points = torch.cat(history.losses)
        iterations = len(history.losses) * math.ceil(len(data.train.labels) / data.batch_size)
        pictures["loss"] = figures.loss_curve(points, round(iterations / len(points)))
    texts = {
        "summary.txt": cost.summary,
        MISTAKES: mistakes(truth, predicted),
        PER_CLASS: per_class(truth, predicted, cfg.data.num_classes),
        CONFIG: OmegaConf.to_yaml(OmegaConf.masked_copy(cfg, _described(cfg)), resolve=True),
    }
    with tempfile.TemporaryDirectory() as temporary:
        for name, figure in pictures.items():
            figure.savefig(Path(temporary, f"{name}.png"), dpi=120)
        for name, text in texts.items():
            Path(temporary, name).write_text(text, encoding="utf-8")
        model = _weights(module, best)
        torch.save(model[-1].state_dict(), Path(temporary, WEIGHTS))
        run.store.patiently(run.client.log_artifacts, run.id, temporary)
    if cfg.tracking.model and not run.models():
        run.store.patiently(_log_model, run, model, data.val.images)


@torch.inference_mode()
def predict(module: Classifier, data: Images, batch_size: int) -> Tensor:
    """The class of each image: int64 [N], on the device of the images."""
    module.to(data.images.device).eval()
    return torch.cat(
        [module.learn.outputs(batch).argmax(1) for batch in data.images.split(batch_size)]
    )


def mistakes(truth: Tensor, predicted: Tensor) -> str:
    """The images that were read wrong, as CSV: image (from 0), true, predicted. int64 [N] each."""
    wrong = (truth != predicted).nonzero().flatten()
    rows = torch.stack((wrong, truth[wrong], predicted[wrong]), dim=1).tolist()
    return "\n".join(["image,true,predicted", *(",".join(map(str, row)) for row in rows)]) + "\n"


def per_class(truth: Tensor, predicted: Tensor, num_classes: int) -> str:
    """How well each class is read, as CSV, and the mean over the classes. int64 [N] each.

    Of a class, `right` of `support` images were read as it; that is the recall, or accuracy
    of the class. A class that neither occurs nor is predicted is left out.
    """
    scores = multiclass_stat_scores(predicted, truth, num_classes, average=None)
    right, false, _, missed, support = scores.double().T
    shares = (right / (right + false), right / support, 2 * right / (2 * right + false + missed))
    table = torch.stack((right, support, *shares), dim=1).nan_to_num()[right + false + missed > 0]
    names = (right + false + missed).nonzero().flatten().tolist()
    means = torch.cat((table[:, :2].sum(0), table[:, 2:].mean(0)))
    rows = [
        f"{name},{counted:.0f},{of:.0f},{precision:.4f},{recall:.4f},{f1:.4f}"
        for name, (counted, of, precision, recall, f1) in zip(
            [*names, "mean"], [*table.tolist(), means.tolist()], strict=True
        )
    ]
    return "\n".join(["class,right,support,precision,recall,f1", *rows]) + "\n"


def _described(cfg: DictConfig) -> list[str]:
    """The parts of a configuration to write down: all but the store, which may hold credentials."""
    return [key for key in cfg if key != "tracking"]


def _weights(module: Classifier, checkpoint: Path) -> nn.Sequential:
    """float [N, C, H, W], 0 to 255 -> logits [N, K], with the weights of a checkpoint."""
    network = copy.deepcopy(module.network).cpu()
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    network.load_state_dict({name.removeprefix("network."): state[name] for name in state})
    return nn.Sequential(module.normalize, network).eval()


def _log_model(run: TrackedRun, model: nn.Sequential, images: Tensor) -> None:
    """Log as a graph that loads with neither this project's code nor pickle."""
    import mlflow.pytorch  # not until now: it takes a while

    example = images[:2].cpu().float().numpy()  # two: one would fix the batch's size
    logits = model(torch.from_numpy(example))
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("float32"), (-1, *example.shape[1:]))]),
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1, logits.shape[1]))]),
    )
    mlflow.set_tracking_uri(run.store.uri)
    mlflow.set_experiment(experiment_id=run.store.experiment_id)
    Model.log(
        artifact_path=None,
        flavor=mlflow.pytorch,
        name="model",
        run_id=run.id,
        pytorch_model=model,
        signature=signature,
        input_example=example,
        pip_requirements=[f"{name}=={version}" for name, version in installed(MODEL_PACKAGES)],
        serialization_format="pt2",
    )
