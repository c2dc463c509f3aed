"""The metrics of a run, epoch by epoch, kept with its checkpoints and sent to its MLflow run."""

import logging
import time
from typing import Any

import pytorch_lightning as pl

from experiments.tracking import TrackedRun

log = logging.getLogger(__name__)


class History(pl.Callback):
    """Collects train/* and val/*, the learning rate and the seconds of every epoch.

    `epochs[i]` has the metrics of epoch i + 1. As part of every checkpoint, they
    are whole again when a run is taken up, whatever the store has seen of them.
    """

    def __init__(self, run: TrackedRun) -> None:
        self.run = run
        self.epochs: list[dict[str, float]] = []
        self.started, self.rate = 0.0, 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.started = time.perf_counter()
        self.rate = trainer.optimizers[0].param_groups[0]["lr"]  # the schedule moves before the end

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        row = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row["lr"] = self.rate
        row["epoch_seconds"] = time.perf_counter() - self.started
        self.epochs.append(row)
        figures = ", ".join(f"{name} {value:.4g}" for name, value in row.items())
        log.info("epoch %d of %d: %s", len(self.epochs), trainer.max_epochs, figures)
        if trainer.is_global_zero:
            self.run.log_history(self.epochs)

    def best(self) -> tuple[float, int]:
        """The highest validation accuracy, and the first epoch that had it, from 1."""
        accuracies = [row["val/acc"] for row in self.epochs]
        return max(accuracies), accuracies.index(max(accuracies)) + 1

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": self.epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epochs = state["epochs"]
