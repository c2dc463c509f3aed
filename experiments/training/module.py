"""The Lightning module of a run, as configured, and the weights that it exports."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from mlflow.exceptions import MlflowException
from omegaconf import DictConfig
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.cli.config import build
from experiments.cli.errors import UserError
from experiments.tracking.store import PARENT, Store
from experiments.tracking.trained_network import TrainedNetwork, load_network
from experiments.training.history import History
from experiments.training.resume import BEST, Training
from models.lightning.classifier import Classifier
from models.lightning.fused import FusedClassifier
from models.networks.branches import fold
from models.networks.stack import load_from_stack

COMPILED_FROM = 5_000  # batches: torch.compile saves about 5 ms each, and takes 20 s at first


def make_module(cfg: DictConfig, network: nn.Module, images: int) -> Classifier:
    """The Lightning module that trains a network on so many images, as configured."""
    compiles, optimizer = worth_compiling(cfg, images), build(cfg, "optimizer")
    return Classifier(network, optimizer, cfg.seed, compiles=compiles, **recipe(cfg))


def fuse(
    cfgs: Sequence[DictConfig], networks: Sequence[nn.Module], images: int, device: torch.device
) -> FusedClassifier:
    """The module that trains all networks, each on its own batches. UserError: it cannot."""
    weights = [weight for layer in networks[0].modules() for weight in layer.parameters(False)]
    if len(weights) > len(set(weights)):
        raise UserError("fused: two layers of the network share a weight; train runs one by one")
    compiles = device.type == "cuda" and worth_compiling(cfgs[0], images)
    optimizers = [build(cfg, "optimizer") for cfg in cfgs]
    return FusedClassifier(list(networks), optimizers, compiles=compiles, **recipe(cfgs[0]))


def exported(module: Classifier, training: Training, index: int, history: History) -> Classifier:
    """A module with the weights that run `index` exports, see History."""
    if isinstance(module, FusedClassifier):
        weights = module.best if history.exports_best else module.network.stacked()
        load_from_stack(training.network, weights, index)
        module = make_module(training.cfg, training.network, images=0)  # trains no more
    elif history.exports_best:
        kept = torch.load(history.folder / BEST, module.device, weights_only=True)
        module.load_state_dict(kept["state_dict"])
    fold(module.network)
    return module


@torch.no_grad()  # in inference mode, a module that moves to another device could not train again
def predict(module: Classifier, images: Tensor, size: int, device: torch.device) -> Tensor:
    """The class that it sees in each image: uint8 [N, C, H, W] -> int64 [N], on the CPU."""
    module.to(device).eval()
    batches = images.to(device).split(size)
    return torch.cat([module.learn.outputs(batch).argmax(1) for batch in batches]).cpu()


def recipe(cfg: DictConfig) -> dict[str, Any]:
    """The arguments that Classifier and FusedClassifier have in common."""
    return {
        "scheduler": build(cfg, "scheduler"),
        "augmentation": build(cfg, "augmentation"),
        "mean": cfg.data.mean,
        "std": cfg.data.std,
        "batch_size": cfg.data.batch_size,
        "kernels": bool(cfg.compile) and cfg.trainer.precision == "32-true",  # what they compute in
        "loss": build(cfg, "loss") or F.cross_entropy,
    }


def load_teacher(cfg: DictConfig, store: Store, device: torch.device) -> TrainedNetwork:
    """The network of the run `loss.teacher`. UserError: there is none, or it takes other images."""
    key = f"loss.teacher={cfg.loss.teacher}"
    try:
        run = store.client.get_run(cfg.loss.teacher)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise UserError(f"{key}: is no run of {store.uri}; make ui shows what there is") from error
    if PARENT not in run.data.tags or run.info.status != "FINISHED":
        raise UserError(f"{key}: is not a finished run of one seed; name one that is")
    teacher = load_network(store, run)
    for name in ("in_channels", "image_size", "num_classes"):
        if cfg.data[name] != (takes := teacher.data[name]):
            raise UserError(f"{key}: is for data.{name}={takes}, not {cfg.data[name]}")
    return teacher.to(device)


def worth_compiling(cfg: DictConfig, images: int) -> bool:
    """Whether to use torch.compile where our own kernels are not used."""
    batches = cfg.trainer.max_epochs * math.ceil(images / cfg.data.batch_size)
    return batches >= COMPILED_FROM if cfg.compile == "auto" else cfg.compile
