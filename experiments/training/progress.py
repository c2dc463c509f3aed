"""A line on the terminal: how far a run is, and how long it still takes."""

import time

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

SECONDS = 0.5  # between updates: each one waits for the device


class ProgressLine(pl.callbacks.ProgressBar):
    """A bar over all epochs of a run, with loss and accuracy so far in this epoch."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=Console(stderr=True),
            refresh_per_second=1 / SECONDS,
        )
        self.task: TaskID | None = None
        self.validated = ""
        self.updated = 0.0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        steps = len(trainer.train_dataloader)
        self.task = self.progress.add_task(
            self.name,
            total=steps * trainer.max_epochs,
            completed=steps * trainer.current_epoch,
            figures="",
        )
        self.progress.start()

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_) -> None:
        if time.monotonic() - self.updated < SECONDS:
            return
        self.updated = time.monotonic()
        loss, accuracy = module.progress()
        self.progress.update(
            self.task,
            completed=trainer.global_step,
            figures=(
                f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  "
                f"loss {loss:.4f}  acc {accuracy:.2%}{self.validated}"
            ),
        )

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.validated = f"  val {module.progress('val')[1]:.2%}"

    def disable(self) -> None:
        self.progress.stop()

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.progress.stop()

    def on_exception(self, *_) -> None:
        self.progress.stop()
