"""The metrics of a run, epoch by epoch, kept with its checkpoints and sent to its MLflow run."""

import logging
import math
import time
from typing import Any

import pytorch_lightning as pl
import torch
from mlflow.exceptions import MlflowException
from torch import Tensor

from experiments.cli.jobs import announce
from experiments.tracking.run import TrackedRun
from experiments.tracking.store import reason

POINTS = 3000  # of an epoch's loss over the iterations
log = logging.getLogger(__name__)


class History(pl.Callback):
    """Collects train/* and val/*, the learning rate and the seconds of every epoch.

    `epochs[i]` has the metrics of epoch i + 1. As part of every checkpoint, they
    are whole again when a run is taken up, whatever the store has seen of them. So are the
    `losses` over the iterations of each epoch.
    """

    def __init__(self, run: TrackedRun) -> None:
        self.run = run
        self.epochs: list[dict[str, float]] = []
        self.ended: list[int] = []  # when, in milliseconds since 1970
        self.losses: list[Tensor] = []
        self.started, self.rate = 0.0, 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.started = time.perf_counter()
        self.rate = trainer.optimizers[0].param_groups[0]["lr"]  # the schedule moves before the end

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        row = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row["lr"] = self.rate
        row["epoch_seconds"] = time.perf_counter() - self.started
        self.add(row, torch.stack(module.losses))
        figures = ", ".join(f"{name} {value:.4g}" for name, value in row.items())
        log.info("epoch %d of %d: %s", len(self.epochs), trainer.max_epochs, figures)
        self.try_to_send()
        announce(epoch=len(self.epochs), epochs=trainer.max_epochs, val_acc=row["val/acc"])

    def add(self, row: dict[str, float], losses: Tensor) -> None:
        """Keep the metrics of an epoch that has just ended, and its losses over the iterations;
        of many, the means of as many at a time as it takes to keep no more than POINTS."""
        self.epochs.append(row)
        each = math.ceil(len(losses) / POINTS)
        self.losses.append(torch.stack([part.mean() for part in losses.cpu().split(each)]))
        self.ended.append(int(time.time() * 1000))

    def send(self) -> None:
        """Log what the store has not yet."""
        self.run.log_history(self.epochs, self.ended)

    def try_to_send(self) -> None:
        """The same; where the store does not answer, it is tried again with the next epoch."""
        try:
            self.send()
        except (MlflowException, OSError) as error:
            log.warning("epoch %d is not in the store yet: %s", len(self.epochs), reason(error))

    def best(self) -> tuple[float, int]:
        """The highest validation accuracy, and the first epoch that had it, from 1."""
        accuracies = [row["val/acc"] for row in self.epochs]
        return max(accuracies), accuracies.index(max(accuracies)) + 1

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": self.epochs, "ended": self.ended, "losses": self.losses}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epochs, self.ended = state["epochs"], state["ended"]
        self.losses = state.get("losses", [])
