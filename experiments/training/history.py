"""The metrics of a run by epoch, kept with its checkpoints and sent to its MLflow run."""

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

POINTS = 3000  # kept of the losses of an epoch's batches
log = logging.getLogger(__name__)


class History(pl.Callback):
    """Collects train/* and val/*, the learning rate and the seconds of every epoch.

    It is part of every checkpoint, so a resumed run has all of it, whatever reached the store.

    Attributes:
        epochs: `epochs[i]` has the metrics of epoch i + 1.
        ended: when each epoch ended, in milliseconds since 1970.
        losses: of each epoch, the losses of its batches, or means of several at a time.
    """

    def __init__(self, run: TrackedRun) -> None:
        self.run = run
        self.epochs: list[dict[str, float]] = []
        self.ended: list[int] = []
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
        """Keep the metrics of an epoch that has just ended, and the losses of its batches."""
        self.epochs.append(row)
        each = math.ceil(len(losses) / POINTS)
        self.losses.append(torch.stack([part.mean() for part in losses.cpu().split(each)]))
        self.ended.append(int(time.time() * 1000))

    def send(self) -> None:
        """Log what the store does not have yet."""
        self.run.log_history(self.epochs, self.ended)

    def try_to_send(self) -> None:
        """Send, or where the store does not answer, leave it to the next epoch."""
        try:
            self.send()
        except (MlflowException, OSError) as error:
            log.warning("epoch %d is not in the store yet: %s", len(self.epochs), reason(error))

    def summary(self) -> dict[str, float]:
        """The best validation accuracy, the first epoch that had it, and the training time."""
        accuracies = [row["val/acc"] for row in self.epochs]
        best = max(accuracies)
        seconds = sum(row["epoch_seconds"] for row in self.epochs)
        return {
            "val/best_acc": best,
            "val/best_epoch": accuracies.index(best) + 1,
            "train_seconds": seconds,
        }

    def divergence(self) -> str | None:
        """The first epoch whose training loss was not finite, as a text."""
        for epoch, row in enumerate(self.epochs, 1):
            if not math.isfinite(loss := row["train/loss"]):
                return f"Diverged: the training loss became {loss:.3g} in epoch {epoch}"
        return None

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": self.epochs, "ended": self.ended, "losses": self.losses}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epochs, self.ended, self.losses = state["epochs"], state["ended"], state["losses"]
