"""The parts of a training that Lightning runs: its module and its trainer, as configured."""

import logging
import math
import sys
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import pytorch_lightning as pl
from omegaconf import DictConfig
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn
from torch.nn import functional as F

from experiments.cli.config import build
from experiments.cli.errors import UserError
from experiments.cli.jobs import is_job
from experiments.tracking.identity import run_name
from experiments.training.progress import ProgressLine
from models.lightning.classifier import Classifier

COMPILED_FROM = 5_000  # batches: torch.compile saves about 5 ms each, and takes 20 s at first


def make_module(cfg: DictConfig, network: nn.Module, images: int) -> Classifier:
    """The Lightning module that trains a network on so many images, as configured."""
    compiled = "native" if cfg.compile == "auto" else None
    if worth_compiling(cfg, images):
        compiled = "all"
    return Classifier(
        network,
        build(cfg, "optimizer"),
        compiled=compiled,
        seed=cfg.seed,
        **recipe(cfg, images),
    )


def recipe(cfg: DictConfig, images: int) -> dict[str, Any]:
    """The arguments that Classifier and FusedClassifier have in common."""
    return {
        "scheduler": build(cfg, "scheduler"),
        "augmentation": build(cfg, "augmentation"),
        "mean": cfg.data.mean,
        "std": cfg.data.std,
        "batch_size": cfg.data.batch_size,
        "loss": build(cfg, "loss") or F.cross_entropy,
        "batches": count_batches(cfg, images),
    }


def count_batches(cfg: DictConfig, images: int) -> int:
    """The batches of a whole training; the last, smaller one of each epoch counts."""
    return cfg.trainer.max_epochs * math.ceil(images / cfg.data.batch_size)


def worth_compiling(cfg: DictConfig, images: int) -> bool:
    """Whether to use torch.compile where our own kernels are not used."""
    if cfg.compile == "auto":
        return count_batches(cfg, images) >= COMPILED_FROM
    return cfg.compile


def make_trainer(cfg: DictConfig, folder: Path, together: int | None = None) -> pl.Trainer:
    """A Lightning trainer that keeps the last and the best epoch in `folder`.

    Args:
        together: how many runs it trains as one program, of which it keeps the last epoch only.

    Raises:
        UserError: the accelerator does not exist, or a value is invalid or not supported.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    each_epoch = {"save_on_train_epoch_end": True, "enable_version_counter": False}
    # two of them: save_last=True would keep the last epoch only where it is the best one
    callbacks = [ModelCheckpoint(folder, filename="last", **each_epoch)]
    if not together:
        best = ModelCheckpoint(folder, filename="best", monitor="val/acc", mode="max", **each_epoch)
        callbacks.insert(0, best)  # the last checkpoint keeps its score
    watched = sys.stderr.isatty() and not is_job()
    if watched:
        name = f"{cfg.name}, {together} runs" if together else run_name(cfg)
        callbacks.insert(0, ProgressLine(name))
    trainer = build(
        cfg,
        "trainer",
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=watched,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    if trainer.world_size > 1:
        raise UserError(
            "trainer.devices must be 1: so small a network trains fastest on one device"
        )
    for name in ("gradient_clip_val", "accumulate_grad_batches"):
        if cfg.trainer.get(name):
            raise UserError(f"trainer.{name} is not supported; leave it out")
    if getattr(trainer.precision_plugin, "scaler", None) is not None:
        raise UserError("trainer.precision=16-mixed is not supported; use bf16-mixed or 32-true")
    return trainer


def fit_from(
    last: Path, trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule
) -> None:
    """Train to the last epoch, from a checkpoint if there is one.

    Raises:
        UserError: the checkpoint is damaged, or holds programs.
    """
    start = str(last) if last.exists() else None
    try:
        trainer.fit(module, data, ckpt_path=start, weights_only=True)
    except UnpicklingError as error:
        raise UserError(
            f"{last} is damaged, or holds more than figures and is not trusted; remove it, or "
            "train anew with force=true"
        ) from error
    except SystemExit:  # Lightning's answer to Ctrl-C
        if not trainer.interrupted:
            raise
        rest = f"goes on from {last}" if last.exists() else "starts it again"
        raise KeyboardInterrupt(f"; the same command {rest}") from None
