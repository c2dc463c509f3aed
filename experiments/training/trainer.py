"""The parts of a training that Lightning runs: its module and its trainer, as configured."""

import logging
import math
import sys
from pathlib import Path
from pickle import UnpicklingError

import pytorch_lightning as pl
from omegaconf import DictConfig
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn
from torch.nn import functional as F

from experiments.cli.config import build
from experiments.cli.errors import UserError
from experiments.cli.jobs import is_job
from experiments.tracking.identity import run_name
from experiments.tracking.provenance import provenance
from experiments.training.progress import ProgressLine
from models.lightning.classifier import Classifier
from models.lightning.learner import Loss

LOG = "train.log"
PAYS = 5_000  # batches: torch.compile saves a quarter of 20 ms each, and takes 20 s at first


def make_module(cfg: DictConfig, network: nn.Module, images: int) -> Classifier:
    """The Lightning module that trains a network on so many images as the configuration says."""
    compiled = "all" if pays(cfg, images) else "native" if cfg.compile == "auto" else None
    return Classifier(
        network,
        optimizer=build(cfg, "optimizer"),
        scheduler=build(cfg, "scheduler"),
        augmentation=build(cfg, "augmentation"),
        mean=cfg.data.mean,
        std=cfg.data.std,
        batch_size=cfg.data.batch_size,
        compiled=compiled,
        loss=make_loss(cfg),
        seed=cfg.seed,
        batches=whole_training(cfg, images),
    )


def make_loss(cfg: DictConfig) -> Loss:
    """What training minimises: cross entropy, where the configuration names nothing else."""
    return build(cfg, "loss") or F.cross_entropy


def whole_training(cfg: DictConfig, images: int) -> int:
    """Batches of a run on so many images; the last, smaller one of each epoch counts."""
    return cfg.trainer.max_epochs * math.ceil(images / cfg.data.batch_size)


def pays(cfg: DictConfig, images: int) -> bool:
    """Whether torch.compile is to be used where our own kernels are not."""
    batches = cfg.trainer.max_epochs * (images // cfg.data.batch_size)
    return batches >= PAYS if cfg.compile == "auto" else cfg.compile


def make_trainer(cfg: DictConfig, folder: Path, together: int | None = None) -> pl.Trainer:
    """A Lightning trainer that keeps the last and the best epoch in `folder`.

    Args:
        together: how many runs it trains as one program; of those, it keeps the last epoch only.

    Raises:
        UserError: the accelerator is not there, or a value is refused.
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
        UserError: there is one that is damaged, or holds programs.
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


def start_anew(folder: Path) -> None:
    """Forget what was trained in a folder."""
    for path in (*folder.glob("*.ckpt"), *folder.glob(LOG)):
        path.unlink()


def origin(cfg: DictConfig, digest: str, trainer: pl.Trainer) -> dict[str, str | None]:
    """The tags that say what a run came from."""
    held = cfg.data.holdout
    return {
        "data.digest": digest,
        "validated_on": "test images" if held is None else f"{held} of the training images",
        "mlflow.note.content": cfg.description,
        **provenance(trainer.strategy.root_device),
    }
