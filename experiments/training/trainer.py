"""Lightning's trainer, as configured, and the device that it trains on."""

import logging
import sys
import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from experiments.cli.config import build
from experiments.cli.errors import UserError, one_line
from experiments.cli.jobs import is_job
from experiments.data.images import ImageData
from experiments.tracking.identity import run_name
from experiments.training.history import History
from experiments.training.progress import ProgressLine
from experiments.training.resume import WholeFiles, find_whole
from models.lightning.classifier import Classifier


def device_of(cfg: DictConfig) -> torch.device:
    """The device that trains. Raises UserError if it is not here, or cannot do it."""
    return _trainer(cfg, logger=False, callbacks=[]).strategy.root_device


def make_trainer(cfg: DictConfig, history: History, *callbacks: pl.Callback) -> pl.Trainer:
    """A Lightning trainer with these callbacks, and those of `trainer.callbacks`."""
    bar = cfg.trainer.get("enable_progress_bar", True) and (sys.stderr.isatty() or is_job())
    shown = [ProgressLine(run_name(cfg, len(history.runs)))] if bar else []
    return _trainer(
        cfg,
        callbacks=[*shown, *callbacks, *build_all(cfg, "trainer.callbacks"), history],
        logger=build_all(cfg, "trainer.logger") or False,
        plugins=[WholeFiles()],
        default_root_dir=history.folder,
    )


def _trainer(cfg: DictConfig, **options: Any) -> pl.Trainer:
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    keys = [key for key in cfg.trainer if key not in ("callbacks", "logger")]
    settings = cfg.copy()  # all of it, for ${point[1]}
    settings.trainer = OmegaConf.masked_copy(cfg.trainer, keys)
    with warnings.catch_warnings(action="ignore"):  # of a precision that is refused below
        if settings.trainer.get("profiler") is None:
            options["profiler"] = NoProfiler()
        trainer = build(settings, "trainer", enable_progress_bar=False, **options)
    set_precision(cfg, trainer.strategy.root_device)
    return trainer


class NoProfiler(PassThroughProfiler):
    """Lightning's own opens a new context at each of its 20 hooks a batch."""

    nothing = nullcontext()

    def profile(self, action_name: str) -> AbstractContextManager:
        return self.nothing


def set_precision(cfg: DictConfig, device: torch.device) -> None:
    """Let this process multiply as configured; UserError where the device cannot."""
    gpu, precision = device.type == "cuda", cfg.trainer.precision
    if precision == "16-mixed" and not gpu:
        text = f"is for a CUDA GPU, not for {device.type}; choose 32-true or bf16-mixed"
        raise UserError(f"trainer.precision={precision} {text}")
    if cfg.tf32 and not (gpu and torch.cuda.get_device_capability(device) >= (8, 0)):
        where = torch.cuda.get_device_name(device) if gpu else device.type
        raise UserError(f"tf32=true needs an NVIDIA GPU from Ampere on, not {where}; leave it null")
    # of PyTorch's defaults one is on and one is off
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = bool(cfg.tf32)


def build_all(cfg: DictConfig, key: str) -> list[Any]:
    """The objects at a key of the configuration: of one, of a list, or of a group of them."""
    found = build(cfg, key)
    if isinstance(found, dict):
        return list(found.values())
    return found if isinstance(found, list) else [found] if found else []


def check_limits(cfg: DictConfig, data: ImageData) -> None:
    """Raise UserError where a share of the batches is less than one."""
    train, val = len(data.train_dataloader()), len(data.val_dataloader())
    limits = {"limit_train_batches": train, "limit_val_batches": val, "overfit_batches": train}
    for key, batches in limits.items():
        limit = cfg.trainer.get(key)
        if isinstance(limit, float) and 0 < limit * batches < 1:
            text = f"trainer.{key}={limit} is less than one of {batches} batches"
            raise UserError(f"{text}; give a number of batches, or a larger share")


def fit_from(last: Path, trainer: pl.Trainer, module: Classifier, data: ImageData) -> None:
    """Train from the last whole checkpoint, if any; UserError: Lightning refuses the settings."""
    try:
        trainer.fit(module, data, ckpt_path=find_whole(last), weights_only=True)
    except SystemExit:  # Lightning's answer to Ctrl-C
        if not trainer.interrupted:
            raise
        rest = f"goes on from {last}" if last.exists() else "starts it again"
        raise KeyboardInterrupt(f"; the same command {rest}") from None
    except MisconfigurationException as error:
        raise UserError(f"trainer: {one_line(error)}") from error
    except RuntimeError as error:  # of EarlyStopping
        if "conditioned on metric" not in str(error):
            raise
        raise UserError(f"trainer.callbacks: {one_line(error)}") from error
    if profile := trainer.profiler.summary():
        print(profile)
