"""A run and its folder: locked while a process trains it, with whole checkpoints to resume from."""

import io
import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from omegaconf import DictConfig
from pytorch_lightning.plugins import TorchCheckpointIO
from torch import nn

from experiments.budget.cost import Cost
from experiments.cli.errors import UserError, one_line
from experiments.cli.files import write
from experiments.cli.jobs import is_job
from experiments.tracking.failures import advised
from experiments.tracking.identity import CONFIG_HASH, DIGEST
from experiments.tracking.store import STUDY, Store

LAST, BEFORE, BEST, LOG = "last.ckpt", "last.ckpt.before", "best.ckpt", "train.log"

log = logging.getLogger(__name__)


@dataclass
class Training:
    """One run, trained alone or fused with others."""

    name: str
    cfg: DictConfig
    network: nn.Module  # with initial weights
    cost: Cost
    folder: Path  # for its log and checkpoints
    tags: dict[str, Any]  # without a parent run among them, it gets that of its seeds
    run: Run | None = None  # if it was begun before; after training, with its results

    @property
    def finished(self) -> bool:
        return self.run is not None and self.run.info.status == "FINISHED"

    @property
    def is_trial(self) -> bool:
        return STUDY in self.tags

    @property
    def failure(self) -> str | None:
        """Why training failed and what to do, if it did."""
        if self.finished:
            return None
        advice = f"lower optimizer.lr, now {self.cfg.optimizer.lr}; the log is {self.folder / LOG}"
        return f"{self.name}: {self.run.data.tags['error']}: {advice}"

    def run_id_file(self, folder: Path) -> Path:
        """The file beside the checkpoint in a folder that holds the id of this run."""
        return folder / f"run-{self.folder.name}"

    def find(self, store: Store, folder: Path) -> None:
        """Set `run` to the finished one, else to that of the checkpoint in `folder`.

        What was begun on another machine, or fused with others, is not resumed: the run would be
        half of one training and half of another.
        """
        file = self.run_id_file(folder)
        here = file.read_text() if file.exists() else ""
        runs = store.matching({key: self.tags[key] for key in (CONFIG_HASH, DIGEST)})
        finished = [run for run in runs if run.info.status == "FINISHED"]
        resumable = [run for run in runs if run.info.run_id == here]
        self.run = next(reversed(resumable + finished), None)
        if finished and here not in ("", *(run.info.run_id for run in finished)):
            # another machine was faster
            store.close(here, "KILLED")


@contextmanager
def locked(folders: Iterable[Path]) -> Iterator[None]:
    """Hold the folders of runs, so that no other process trains them; a job of a sweep waits."""
    with ExitStack() as locks:
        for folder in sorted(folders):  # in one order, so that two sweeps cannot block each other
            folder.mkdir(parents=True, exist_ok=True)
            locks.enter_context(FileLock(folder / "lock", blocking=is_job()))
        yield


class WholeFiles(TorchCheckpointIO):
    """Writes each checkpoint completely or not at all, and keeps the one before the last."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, **_: Any) -> None:
        path, content = Path(path), io.BytesIO()
        torch.save(checkpoint, content)
        if path.name == LAST and path.exists():
            # copied, so that there is always a last one
            write(path.with_name(BEFORE), path.read_bytes())
        write(path, content.getvalue())


def find_whole(last: Path) -> Path | None:
    """The last checkpoint that is whole and holds figures only; any other one is set aside."""
    for path in filter(Path.exists, (last, last.with_name(BEFORE))):
        try:
            torch.load(path, map_location="cpu", weights_only=True)["pytorch-lightning_version"]
            return path
        except PermissionError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror or error}") from error
        except MemoryError:
            raise
        except Exception as error:  # PyTorch has an error of its own for each kind of damage
            aside = path.replace(path.with_name(f"{path.name}.damaged"))
            line = f"{path}: damaged, or contains more than tensors; renamed to {aside.name}"
            log.warning("%s: %s", line, one_line(error))
            print(line, file=sys.stderr)
    return None


def start_anew(folder: Path) -> None:
    """Remove the checkpoints and the log of earlier runs."""
    for path in (*folder.glob("*.ckpt*"), *folder.glob(LOG)):
        path.unlink()


@contextmanager
def training_errors(folder: Path) -> Iterator[None]:
    """Turn what can go wrong with a lock, a store or a disk into a UserError."""
    try:
        yield
    except Timeout:
        raise UserError(f"this run is being trained by another process, in {folder}") from None
    except MlflowException as error:
        raise UserError(
            f"the tracking store failed: {advised(error)}; the run's checkpoints and log are in "
            f"{folder}; once that is fixed, the same command goes on from there"
        ) from error
    except OSError as error:
        raise UserError(f"{error.filename or folder}: {advised(error)}") from error
