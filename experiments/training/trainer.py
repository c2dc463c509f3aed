"""The parts of a training that Lightning runs: its module and its trainer, as configured."""

import io
import logging
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from omegaconf import DictConfig
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.nn import functional as F

from experiments.cli.config import build
from experiments.cli.errors import UserError, one_line
from experiments.cli.files import write
from experiments.cli.jobs import is_job
from experiments.tracking.identity import run_name
from experiments.training.progress import ProgressLine
from models.lightning.classifier import Classifier
from models.lightning.fused import FusedClassifier
from models.networks.stack import unstacked

COMPILED_FROM = 5_000  # batches: torch.compile saves about 5 ms each, and takes 20 s at first
LAST, BEFORE = "last.ckpt", "last.ckpt.before"

log = logging.getLogger(__name__)


class Checkpoints(TorchCheckpointIO):
    """Writes each checkpoint completely or not at all, and keeps the one before the last."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, **_: Any) -> None:
        path, content = Path(path), io.BytesIO()
        torch.save(checkpoint, content)
        if path.name == LAST and path.exists():
            path.replace(path.with_name(BEFORE))
        write(path, content.getvalue(), sync=True)


def make_module(cfg: DictConfig, network: nn.Module, images: int) -> Classifier:
    """The Lightning module that trains a network on so many images, as configured."""
    single = cfg.trainer.precision == "32-true"  # what our kernels compute in
    compiled = "native" if cfg.compile == "auto" and single else None
    if worth_compiling(cfg, images):
        compiled = "all"
    optimizer = build(cfg, "optimizer")
    return Classifier(network, optimizer, cfg.seed, compiled=compiled, **recipe(cfg, images))


def fuse(
    cfgs: Sequence[DictConfig], networks: Sequence[nn.Module], images: int, device: torch.device
) -> FusedClassifier:
    """The module that trains all networks, each on its own batches."""
    compiled = "all" if device.type == "cuda" and worth_compiling(cfgs[0], images) else None
    optimizers = [build(cfg, "optimizer") for cfg in cfgs]
    options = recipe(cfgs[0], images)
    return FusedClassifier(list(networks), optimizers, compiled=compiled, **options)


def separate(
    module: FusedClassifier, index: int, cfg: DictConfig, network: nn.Module, best: bool
) -> Classifier:
    """One of the networks as if it had been trained alone: a module with its weights.

    Args:
        network: takes the weights.
        best: those of its best epoch, not of the last one.
    """
    weights = module.best if best else module.network.stacked()
    network.load_state_dict(unstacked(weights, index, list(network.state_dict())))
    return make_module(cfg, network, images=0)  # trains no more


def take_best(module: Classifier, folder: Path) -> Classifier:
    """The module with the weights of its best epoch, from the checkpoint in `folder`."""
    kept = torch.load(folder / "best.ckpt", module.device, weights_only=True)
    module.load_state_dict(kept["state_dict"])
    return module


@torch.inference_mode()
def predict(module: Classifier, images: Tensor, size: int, device: torch.device) -> Tensor:
    """The class that the module sees in each image, `size` at a time.

    images: uint8 [N, C, H, W] -> int64 [N], on the CPU.
    """
    module.to(device).eval()
    batches = images.to(device).split(size)
    return torch.cat([module.learn.outputs(batch).argmax(1) for batch in batches]).cpu()


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
    """A Lightning trainer that keeps the last epoch in `folder`, and the best one if it is chosen.

    It is chosen by images held out (`data.holdout`); never by the test images.

    Args:
        together: how many runs it trains as one program, whose module keeps the best weights.

    Raises:
        UserError: the accelerator does not exist here.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    each_epoch = {"save_on_train_epoch_end": True, "enable_version_counter": False}
    # two of them: save_last=True would keep the last epoch only where it is the best one
    callbacks = [ModelCheckpoint(folder, filename="last", **each_epoch)]
    if not together and cfg.data.holdout is not None:
        best = ModelCheckpoint(folder, filename="best", monitor="val/acc", mode="max", **each_epoch)
        callbacks.insert(0, best)  # the last checkpoint keeps its score
    if sys.stderr.isatty() and not is_job():
        name = f"{cfg.name}, {together} runs" if together else run_name(cfg)
        callbacks.insert(0, ProgressLine(name))
    return build(
        cfg,
        "trainer",
        callbacks=callbacks,
        plugins=[Checkpoints()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )


def fit_from(
    last: Path, trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule
) -> None:
    """Train to the last epoch, from the last whole checkpoint if there is one."""
    start = find_whole(last)
    try:
        trainer.fit(module, data, ckpt_path=start, weights_only=True)
    except SystemExit:  # Lightning's answer to Ctrl-C
        if not trainer.interrupted:
            raise
        rest = f"goes on from {last}" if last.exists() else "starts it again"
        raise KeyboardInterrupt(f"; the same command {rest}") from None


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
