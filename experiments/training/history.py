"""The metrics of runs by epoch, kept in their checkpoints and sent to their MLflow runs."""

import logging
import math
import sys
import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from mlflow.exceptions import MlflowException
from pytorch_lightning.callbacks import Checkpoint
from torch import Tensor

from experiments.cli.errors import UserError
from experiments.cli.jobs import announce, is_job
from experiments.tracking.failures import reason
from experiments.tracking.run import TrackedRun
from experiments.training.resume import BEST, LAST
from models.lightning.classifier import Diverged
from models.lightning.fused import FusedClassifier

POINTS = 3000  # kept of the losses of an epoch's batches
PAUSE = 10  # seconds between two times that many runs are sent

log = logging.getLogger(__name__)


class History(Checkpoint):
    """The metrics of every epoch of each run, and the checkpoints in `folder` that keep them.

    So a resumed run has them all, whatever reached the store. The seconds of fused runs are
    their shares. Lightning calls a Checkpoint after the module, which logs an epoch at its end.

    Args:
        exports_best: whether a run exports its best epoch, which images held out choose; else the
            last one.

    Attributes:
        epochs: `epochs[k][i]` has the metrics of run k in epoch i + 1.
        ended: when each epoch ended, in milliseconds since 1970.
        losses: of each epoch, float [P, runs]: of its batches, or means of several at a time.
        batches: trained on so far.
        trained_by: device and backend of each epoch; see `Learner.backend`.
        resumed: the numbers of epochs after which another process went on.
        stopped: whether a callback, such as EarlyStopping, ended the training.
    """

    def __init__(
        self, runs: Sequence[TrackedRun], folder: Path, exports_best: bool = False
    ) -> None:
        self.runs, self.folder, self.exports_best = runs, folder, exports_best
        self.epochs: list[list[dict[str, float]]] = [[] for _ in runs]
        self.ended: list[int] = []
        self.losses: list[Tensor] = []
        self.batches, self.stopped = 0, False
        self.trained_by: list[tuple[str, str]] = []
        self.resumed: list[int] = []
        self.started = self.sent = 0.0
        self.rates: list[float] = []

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if {len(rows) for rows in (*self.epochs, self.trained_by)} != {trainer.current_epoch}:
            raise UserError("the checkpoint is of an earlier version; train anew with force=true")
        self.resumed.append(trainer.current_epoch)
        trainer.should_stop = self.stopped  # killed after its last epoch
        if trainer.current_epoch and not is_job():
            epochs = f"epoch {trainer.current_epoch} of {trainer.max_epochs}"
            print(f"goes on after {epochs}: {self.folder / LAST}", file=sys.stderr)

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.started = time.perf_counter()
        # now, as the schedule moves before the epoch ends
        self.rates = [group["lr"] for group in trainer.optimizers[0].param_groups]

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.collect(trainer, module)
        epoch, means = len(self.ended), pd.DataFrame([rows[-1] for rows in self.epochs]).mean()
        text = ", ".join(f"{name} {value:.4g}" for name, value in means.items())
        log.info("epoch %d of %d: %s", epoch, trainer.max_epochs, text)
        if len(self.runs) == 1 or time.monotonic() - self.sent > PAUSE:
            try:
                self.send()
            except (MlflowException, OSError) as error:
                log.warning("epoch %d is not in the store yet: %s", epoch, reason(error))
            self.sent = time.monotonic()
        announce(val_acc=means["val/acc"])
        # of fused runs, the module keeps the best weights itself
        if self.exports_best and len(self.runs) == 1 and self.exported_epoch(0) == epoch:
            trainer.save_checkpoint(self.folder / BEST)
        trainer.save_checkpoint(self.folder / LAST)

    def collect(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Add an epoch that has ended."""
        seconds = (time.perf_counter() - self.started) / len(self.runs)
        metrics = {name: [float(value)] for name, value in trainer.callback_metrics.items()}
        groups = [0]
        if isinstance(module, FusedClassifier):
            metrics, groups = module.metrics, module.group_of
        rates = [self.rates[group] for group in groups]
        table = pd.DataFrame({**metrics, "lr": rates, "epoch_seconds": seconds})
        for rows, row in zip(self.epochs, table.to_dict("records"), strict=True):
            rows.append(row)
        losses = torch.stack([loss for loss, *_ in module.train_scores])
        losses = losses.cpu().view(-1, len(self.runs))
        parts = losses.split(math.ceil(len(losses) / POINTS))
        self.losses.append(torch.stack([part.mean(0) for part in parts]))
        self.ended.append(int(time.time() * 1000))
        self.batches, self.stopped = trainer.global_step, trainer.should_stop
        self.trained_by.append((module.device.type, module.learn.backend))

    def send(self) -> None:
        """Log what the store does not have yet."""
        for run, rows in zip(self.runs, self.epochs, strict=True):
            run.log_history(rows, self.ended)

    def summary(self, index: int) -> dict[str, float]:
        """Of a run: its epochs, its best validation accuracy, when it first had it, its seconds."""
        table = pd.DataFrame(self.epochs[index])
        return {
            "epochs": len(table),
            "val/best_acc": table["val/acc"].max(),
            "val/best_epoch": int(table["val/acc"].idxmax()) + 1,
            "train_seconds": table["epoch_seconds"].sum(),
        }

    def exported_epoch(self, index: int) -> int:
        """The epoch, from 1, whose weights a run exports."""
        return self.summary(index)["val/best_epoch" if self.exports_best else "epochs"]

    def changes(self, scored_on: str) -> str | None:
        """What trained which epochs and why that changed, if not one thing did all, and on the
        device that the weights are `scored_on`; a backend's name has the reason if one failed."""
        parts, end = [], 0
        for (device, backend), epochs in groupby(self.trained_by):
            start, end = end + 1, end + len(list(epochs))
            why = "resumed" if start - 1 in self.resumed else "batches of another size"
            why = f" ({why})" if start > 1 else ""
            parts.append(f"epochs {start} to {end} on {device} by {backend}{why}")
        if scored_on != device:
            parts.append(f"scored on {scored_on} (resumed)")
        return "; ".join(parts) if len(parts) > 1 else None

    def divergence(self, index: int) -> str | None:
        """The first epoch whose training loss was not finite, as a text."""
        for epoch, row in enumerate(self.epochs[index], 1):
            if not math.isfinite(loss := row["train/loss"]):
                return f"Diverged: {Diverged.of(loss, epoch)}"
        return None

    def state_dict(self) -> dict[str, Any]:
        names = ("epochs", "ended", "losses", "batches", "stopped", "trained_by", "resumed")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
