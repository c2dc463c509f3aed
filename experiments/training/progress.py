"""The progress line of a run."""

import time

import pytorch_lightning as pl

from experiments.cli.jobs import announce, is_job
from experiments.cli.tables import bars

SECONDS = 0.5  # between updates: each one waits for the device


class ProgressLine(pl.Callback):
    """A bar over all epochs of a run, with loss and accuracy so far in this epoch; of a job of a
    sweep, the sweep shows it."""

    def __init__(self, name: str) -> None:
        self.bar = bars(disable=is_job())
        self.task = self.bar.add_task(name, total=None, note="")
        self.validated, self.updated = "", 0.0
        self.pause = SECONDS * (4 if is_job() else 1)

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        steps = trainer.estimated_stepping_batches
        self.bar.update(self.task, total=steps, completed=trainer.global_step)
        self.bar.start()

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, *_) -> None:
        if time.monotonic() - self.updated >= self.pause:
            self.show(trainer, module)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.validated = f"  val {module.progress('val')[1]:.2%}"
        self.show(trainer, module)  # the last line that it shows has the figures of the last epoch

    def show(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.updated = time.monotonic()
        loss, accuracy = module.progress()
        epoch = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        note, done = f"{epoch}  loss {loss:.4f}  acc {accuracy:.2%}", trainer.global_step
        self.bar.update(self.task, completed=done, note=note + self.validated)
        announce(done=done / self.bar.tasks[0].total, note=note + self.validated)

    def on_train_end(self, *_) -> None:
        self.bar.stop()

    on_exception = on_train_end
