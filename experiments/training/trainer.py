"""The parts of a training that Lightning runs: its module and its trainer, as configured."""

import logging
import math
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.cli.config import build
from experiments.cli.errors import UserError, one_line
from experiments.cli.jobs import is_job
from experiments.tracking.identity import run_name
from experiments.training.checkpoints import BEFORE, BEST, LAST, KeepEpochs, WholeFiles, find_whole
from experiments.training.history import History
from experiments.training.precision import set_precision
from experiments.training.progress import ProgressLine
from models.lightning.classifier import Classifier
from models.lightning.fused import FusedClassifier
from models.networks.stack import take

COMPILED_FROM = 5_000  # batches: torch.compile saves about 5 ms each, and takes 20 s at first


def make_module(cfg: DictConfig, network: nn.Module, images: int) -> Classifier:
    """The Lightning module that trains a network on so many images, as configured."""
    single = cfg.trainer.precision == "32-true"  # what our kernels compute in
    compiled = "native" if cfg.compile == "auto" and single else None
    if worth_compiling(cfg, images):
        compiled = "all" if single else "compiler"
    optimizer = build(cfg, "optimizer")
    return Classifier(network, optimizer, cfg.seed, compiled=compiled, **recipe(cfg))


def fuse(
    cfgs: Sequence[DictConfig], networks: Sequence[nn.Module], images: int, device: torch.device
) -> FusedClassifier:
    """The module that trains all networks, each on its own batches."""
    compiled = "all" if device.type == "cuda" and worth_compiling(cfgs[0], images) else None
    optimizers = [build(cfg, "optimizer") for cfg in cfgs]
    return FusedClassifier(list(networks), optimizers, compiled=compiled, **recipe(cfgs[0]))


def separate(
    module: FusedClassifier, index: int, cfg: DictConfig, network: nn.Module, best: bool
) -> Classifier:
    """One of the networks as if it had been trained alone: a module with its weights.

    Args:
        network: takes the weights.
        best: those of its best epoch, not of the last one.
    """
    weights = module.best if best else module.network.stacked()
    take(network, weights, index)
    return make_module(cfg, network, images=0)  # trains no more


def take_best(module: Classifier, folder: Path) -> Classifier:
    """The module with the weights of its best epoch, from the checkpoint in `folder`."""
    kept = torch.load(folder / BEST, module.device, weights_only=True)
    module.load_state_dict(kept["state_dict"])
    return module


@torch.no_grad()  # in inference mode, a module that moves to another device could not train again
def predict(module: Classifier, images: Tensor, size: int, device: torch.device) -> Tensor:
    """The class that the module sees in each image, `size` at a time.

    images: uint8 [N, C, H, W] -> int64 [N], on the CPU.
    """
    module.to(device).eval()
    batches = images.to(device).split(size)
    return torch.cat([module.learn.outputs(batch).argmax(1) for batch in batches]).cpu()


def recipe(cfg: DictConfig) -> dict[str, Any]:
    """The arguments that Classifier and FusedClassifier have in common."""
    return {
        "scheduler": build(cfg, "scheduler"),
        "augmentation": build(cfg, "augmentation"),
        "mean": cfg.data.mean,
        "std": cfg.data.std,
        "batch_size": cfg.data.batch_size,
        "loss": build(cfg, "loss") or F.cross_entropy,
    }


def count_batches(cfg: DictConfig, images: int) -> int:
    """The batches of a whole training; the last, smaller one of each epoch counts."""
    return cfg.trainer.max_epochs * math.ceil(images / cfg.data.batch_size)


def worth_compiling(cfg: DictConfig, images: int) -> bool:
    """Whether to use torch.compile where our own kernels are not used."""
    if cfg.compile == "auto":
        return count_batches(cfg, images) >= COMPILED_FROM
    return cfg.compile


def device_of(cfg: DictConfig) -> torch.device:
    """The device that trains. Raises UserError if it is not here, or cannot do it."""
    return _trainer(cfg, logger=False, callbacks=[]).strategy.root_device


def make_trainer(
    cfg: DictConfig, folder: Path, history: History, *callbacks: pl.Callback
) -> pl.Trainer:
    """A Lightning trainer that keeps the last epoch in `folder`, and the best one if it is chosen.

    It is chosen by images held out (`data.holdout`); never by the test images. The module of runs
    that are trained as one program keeps their best weights itself.

    Args:
        history: of the runs; every checkpoint has it.
        callbacks: beside ours and those of `trainer.callbacks`.
    """
    together = len(history.runs)
    best = together == 1 and cfg.data.holdout is not None
    bar = cfg.trainer.get("enable_progress_bar", True) and sys.stderr.isatty() and not is_job()
    name = run_name(cfg) if together == 1 else f"{cfg.name}, {together} runs"
    return _trainer(
        cfg,
        callbacks=[
            *([ProgressLine(name)] if bar else ()),
            *callbacks,
            *objects(cfg, "trainer.callbacks"),
            history,
            KeepEpochs(folder, history, best),
        ],
        logger=objects(cfg, "trainer.logger") or False,
        plugins=[WholeFiles()],
        default_root_dir=folder,
    )


def _trainer(cfg: DictConfig, **options: Any) -> pl.Trainer:
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    keys = [key for key in cfg.trainer if key not in ("callbacks", "logger")]
    settings = OmegaConf.create({"trainer": OmegaConf.masked_copy(cfg.trainer, keys)})
    with warnings.catch_warnings(action="ignore"):  # of a precision that is refused below
        trainer = build(settings, "trainer", enable_progress_bar=False, **options)
    set_precision(cfg, trainer.strategy.root_device)
    return trainer


def objects(cfg: DictConfig, key: str) -> list[Any]:
    """The objects at a key of the configuration: of one, of a list, or of a group of them."""
    found = build(cfg, key)
    if isinstance(found, dict):
        return list(found.values())
    return found if isinstance(found, list) else [found] if found else []


def fit_from(
    last: Path, trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule
) -> None:
    """Train to the last epoch, from the last whole checkpoint if there is one.

    Raises:
        UserError: Lightning cannot train with these settings.
    """
    start = find_whole(last)
    try:
        trainer.fit(module, data, ckpt_path=start, weights_only=True)
    except SystemExit:  # Lightning's answer to Ctrl-C
        if not trainer.interrupted:
            raise
        kept = any(last.with_name(name).exists() for name in (LAST, BEFORE))
        rest = f"goes on from {last}" if kept else "starts it again"
        raise KeyboardInterrupt(f"; the same command {rest}") from None
    except MisconfigurationException as error:
        raise UserError(f"trainer: {one_line(error)}") from error
    except RuntimeError as error:  # of EarlyStopping
        if "conditioned on metric" not in str(error):
            raise
        raise UserError(f"trainer.callbacks: {one_line(error)}") from error
    if profile := trainer.profiler.summary():
        print(profile)
