"""Several runs of one architecture as one program: their module, and the history of each."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch import nn

from experiments.cli.config import build
from experiments.cli.jobs import announce
from experiments.data.images import ImageData
from experiments.training.history import History
from experiments.training.trainer import make_module, recipe, worth_compiling
from models.lightning.classifier import Classifier
from models.lightning.fused import FusedClassifier
from models.networks.stack import unstacked

log = logging.getLogger(__name__)


def fuse(
    cfgs: Sequence[DictConfig],
    networks: Sequence[nn.Module],
    data: ImageData,
    device: torch.device,
) -> FusedClassifier:
    """The module that trains all networks, each on batches in the order of its own seed."""
    cfg, images = cfgs[0], len(data.train.labels)
    data.fused_seeds = [run.seed for run in cfgs]
    return FusedClassifier(
        list(networks),
        [build(run, "optimizer") for run in cfgs],
        compiled="all" if worth_compiling(cfg, images) and device.type == "cuda" else None,
        **recipe(cfg, images),
    )


def separate(
    module: FusedClassifier, index: int, cfg: DictConfig, network: nn.Module, best: Path
) -> Classifier:
    """One of the networks as if it had been trained alone: a module with its last weights.

    Args:
        network: takes the weights.
        best: the checkpoint to write, with the weights of its best epoch.
    """
    names = list(network.state_dict())
    alone = make_module(cfg, network, images=0)  # trains no more
    network.load_state_dict(unstacked(module.best, index, names))
    torch.save({"state_dict": alone.state_dict()}, best)
    network.load_state_dict(unstacked(module.network.stacked(), index, names))
    return alone


class Histories(pl.Callback):
    """Fills the History of every run; as they are many, it sends them only now and then.

    The seconds of an epoch are a run's share of them.
    """

    SECONDS = 10  # between two times

    def __init__(self, each: list[History]) -> None:
        self.each = each
        self.started = self.sent = 0.0
        self.rates: list[float] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, module: FusedClassifier) -> None:
        self.started = time.perf_counter()
        groups = trainer.optimizers[0].param_groups
        self.rates = [groups[index]["lr"] for index in module.group_of]

    def on_train_epoch_end(self, trainer: pl.Trainer, module: FusedClassifier) -> None:
        share = (time.perf_counter() - self.started) / len(self.each)
        losses = torch.stack(module.losses).cpu()
        for index, history in enumerate(self.each):
            row = {name: values[index] for name, values in module.figures.items()}
            row |= {"lr": self.rates[index], "epoch_seconds": share}
            history.add(row, losses[:, index])
        accuracies = module.figures["val/acc"]
        epoch = len(self.each[0].epochs)
        low, high = min(accuracies), max(accuracies)
        log.info("epoch %d of %d: val/acc %.4f to %.4f", epoch, trainer.max_epochs, low, high)
        if time.monotonic() - self.sent > self.SECONDS:
            for history in self.each:
                history.try_to_send()
            self.sent = time.monotonic()
        mean = sum(accuracies) / len(accuracies)
        announce(epoch=epoch, epochs=trainer.max_epochs, val_acc=mean)

    def state_dict(self) -> dict[str, Any]:
        return {"each": [history.state_dict() for history in self.each]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for history, kept in zip(self.each, state["each"], strict=True):
            history.load_state_dict(kept)
