"""A line on the terminal: how far a run is, and how long it still takes."""

import time

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TimeRemainingColumn
from rich.table import Column

from experiments.cli.tables import Plain

SECONDS = 0.5  # between updates: each one waits for the device


class ProgressLine(pl.Callback):
    """A bar over all epochs of a run, with loss and accuracy so far in this epoch."""

    def __init__(self, name: str) -> None:
        shortened = Plain("{task.description}", table_column=Column())  # where there is no room
        figures = Plain("{task.fields[figures]}")
        columns = shortened, BarColumn(10), TimeRemainingColumn(), figures
        self.bar = Progress(*columns, console=Console(stderr=True))
        self.task = self.bar.add_task(name, total=None, figures="")
        self.validated, self.updated = "", 0.0

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        steps = trainer.estimated_stepping_batches
        self.bar.update(self.task, total=steps, completed=trainer.global_step)
        self.bar.start()

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_) -> None:
        if time.monotonic() - self.updated >= SECONDS:
            self.show(trainer, module)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.validated = f"  val {module.progress('val')[1]:.2%}"
        self.show(trainer, module)  # the last line that it shows has the figures of the last epoch

    def show(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.updated = time.monotonic()
        loss, accuracy = module.progress()
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        figures = f"{epoch}  loss {loss:.4f}  acc {accuracy:.2%}{self.validated}"
        self.bar.update(self.task, completed=trainer.global_step, figures=figures)

    def on_train_end(self, *_) -> None:
        self.bar.stop()

    on_exception = on_train_end
