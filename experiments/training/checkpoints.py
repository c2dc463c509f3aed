"""The checkpoints of a run: the last epoch, the one before it, and the best one if it is chosen."""

import io
import logging
import sys
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import Checkpoint

from experiments.cli.errors import UserError, one_line
from experiments.cli.files import write
from experiments.training.history import History

LAST, BEFORE, BEST = "last.ckpt", "last.ckpt.before", "best.ckpt"

log = logging.getLogger(__name__)


class WholeFiles(TorchCheckpointIO):
    """Writes each checkpoint completely or not at all, and keeps the one before the last."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, **_: Any) -> None:
        path, content = Path(path), io.BytesIO()
        torch.save(checkpoint, content)
        if path.name == LAST and path.exists():
            path.replace(path.with_name(BEFORE))
        write(path, content.getvalue())


class KeepEpochs(Checkpoint):
    """Keeps the last epoch, and the best one where images are held out to choose it."""

    def __init__(self, folder: Path, history: History, best: bool) -> None:
        self.folder, self.history, self.best = folder, history, best

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        epochs = len(self.history.ended)
        if self.best and self.history.summary(0)["val/best_epoch"] == epochs:
            trainer.save_checkpoint(self.folder / BEST)
        trainer.save_checkpoint(self.folder / LAST)


def find_whole(last: Path) -> Path | None:
    """The last checkpoint, or the one before it where the last is missing or damaged.

    A damaged one, or one that holds more than figures and is not trusted, is set aside.
    """
    for path in (last, last.with_name(BEFORE)):
        if not path.exists():
            continue
        try:
            torch.load(path, map_location="cpu", weights_only=True)["pytorch-lightning_version"]
        except PermissionError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
        except MemoryError:
            raise
        except Exception as error:  # PyTorch has an error of its own for each kind of damage
            aside = path.replace(path.with_name(f"{path.name}.damaged"))
            line = f"{path}: damaged, or holds more than figures; set aside as {aside.name}"
            log.warning("%s: %s", line, one_line(error))
            print(line, file=sys.stderr)
        else:
            return path
    return None
