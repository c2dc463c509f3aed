"""What one would run instead of us: the notebook recipe, a usual Lightning project, a bare loop.

python -m experiments.rivals step=s13 seed=0     # the notebook recipe as a program
"""

from __future__ import annotations

import itertools
import json
import math
import tempfile
import time
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from experiments.cli.config import build
from experiments.cli.program import program

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.utils.data import DataLoader

    from experiments.data.images import ImageData, Images
    from models.lightning.learner import Learner


@program("train")
def main(cfg: DictConfig) -> None:
    """Train by the notebook recipe; print the seconds of each epoch as JSON."""
    from experiments.budget.network import design
    from experiments.data.images import load

    network, _ = design(cfg)
    data, _ = load(cfg)
    seconds = [sum(notebook(cfg, network, data)) for _ in range(cfg.trainer.max_epochs)]
    print(json.dumps(seconds))


def loaders(cfg: DictConfig, data: ImageData, workers: int) -> tuple[DataLoader, DataLoader]:
    """DataLoaders over PIL images, each transformed when asked for, as torchvision does it."""
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision import transforms

    class PILImages(Dataset):
        def __init__(self, images: Images, transform: transforms.Compose) -> None:
            self.images, self.labels, self.transform = images.images[:, 0], images.labels, transform

        def __len__(self) -> int:
            return len(self.labels)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            image = Image.fromarray(self.images[index].numpy())
            return self.transform(image), int(self.labels[index])

    rotate = []
    if cfg.augmentation is not None:
        spread = cfg.augmentation.scale
        rotate = [
            transforms.RandomRotation(cfg.augmentation.degrees)
            if not (cfg.augmentation.translate or spread)
            else transforms.RandomAffine(
                cfg.augmentation.degrees,
                translate=(cfg.augmentation.translate, cfg.augmentation.translate),
                scale=(1 - spread, 1 + spread),
            )
        ]
    usual = [transforms.ToTensor(), transforms.Normalize((cfg.data.mean,), (cfg.data.std,))]
    options = {"batch_size": cfg.data.batch_size, "num_workers": workers}
    train = PILImages(data.train, transforms.Compose([*rotate, *usual]))
    val = PILImages(data.val, transforms.Compose(usual))
    return DataLoader(train, shuffle=True, **options), DataLoader(val, **options)


def notebook(
    cfg: DictConfig,
    network: nn.Module,
    data: ImageData,
    workers: int = 0,
    batches: int | None = None,
) -> tuple[float, float]:
    """Seconds of training and of validation in an epoch of the loop that notebooks have.

    Args:
        batches: stop training after so many; None: all.
    """
    import torch
    from torch.nn import functional as F

    device = device_of(cfg)
    train, val = loaders(cfg, data, workers)
    network = network.to(device)
    optimizer = build(cfg, "optimizer")(network.parameters())
    start = now(device)
    network.train()
    correct = seen = 0
    for batch in itertools.islice(train, batches):
        images, labels = (tensor.to(device) for tensor in batch)
        optimizer.zero_grad()
        logits = network(images)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        correct += logits.argmax(1).eq(labels).sum().item()
        seen += len(labels)
        f"loss {loss.item():.4f}, accuracy {correct / seen:.2%}"  # for a progress bar
    trained = now(device)
    network.eval()
    loss, correct = 0.0, 0
    with torch.no_grad():
        for batch in itertools.islice(val, batches):
            images, labels = (tensor.to(device) for tensor in batch)
            logits = network(images)
            loss += F.cross_entropy(logits, labels, reduction="sum").item()
            correct += logits.argmax(1).eq(labels).sum().item()
    return trained - start, now(device) - trained


def lightning(
    cfg: DictConfig,
    network: nn.Module,
    data: ImageData,
    folder: tempfile.TemporaryDirectory,
    batches: int | None = None,
) -> tuple[float, float]:
    """The same of a usual Lightning project: DataLoader, transforms, torchmetrics, MLFlowLogger."""
    import pytorch_lightning as pl
    from pytorch_lightning.loggers import MLFlowLogger
    from torch.nn import functional as F
    from torchmetrics import Accuracy

    class Usual(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.train_acc = Accuracy("multiclass", num_classes=cfg.data.num_classes)
            self.val_acc = Accuracy("multiclass", num_classes=cfg.data.num_classes)

        def training_step(self, batch, _):
            images, labels = batch
            logits = self.network(images)
            loss = F.cross_entropy(logits, labels)
            self.train_acc(logits, labels)
            self.log("train/loss", loss, on_step=False, on_epoch=True)
            self.log("train/acc", self.train_acc, on_step=False, on_epoch=True)
            return loss

        def validation_step(self, batch, _):
            images, labels = batch
            logits = self.network(images)
            self.val_acc(logits, labels)
            self.log("val/loss", F.cross_entropy(logits, labels))
            self.log("val/acc", self.val_acc)

        def configure_optimizers(self):
            return build(cfg, "optimizer")(self.parameters())

    train, val = loaders(cfg, data, workers=0)
    clock = clocked()
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator=cfg.trainer.accelerator,
        devices=1,
        logger=MLFlowLogger(
            tracking_uri=f"sqlite:///{folder.name}/usual.db", artifact_location=folder.name
        ),
        default_root_dir=folder.name,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_train_batches=batches,
        limit_val_batches=batches,
        callbacks=[clock],
    )
    trainer.fit(Usual(), train, val)
    return clock.seconds()


def bare(
    cfg: DictConfig,
    learn: Learner,
    data: ImageData,
    batches: int | None = None,
) -> tuple[float, float]:
    """The same over resident tensors, and nothing else: no Lightning, metrics or tracking.

    Args:
        learn: our own arithmetic.
    """
    import torch

    from experiments.data.images import Batches

    device = device_of(cfg)
    train, val = data.train.to(device), data.val.to(device)
    network = learn.network.to(device)
    optimizer = build(cfg, "optimizer")(network.parameters())
    start = now(device)
    network.train()
    for images, labels in itertools.islice(Batches(train, cfg.data.batch_size, True), batches):
        loss, _ = learn(images, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    trained = now(device)
    network.eval()
    with torch.inference_mode():
        for images, labels in itertools.islice(Batches(val, cfg.data.eval_batch_size), batches):
            learn.evaluate(images, labels)
    return trained - start, now(device) - trained


def floor(cfg: DictConfig, mult_adds: int, batches: int, size: int = 1024) -> float:
    """Seconds that the multiplications of an epoch's training take at the best.

    Forward, and backward to the inputs and to the weights: three times the
    multiply-adds of the forward pass, at the rate of a product of two square
    matrices of `size`, the best of ten.
    """
    import torch

    device = device_of(cfg)
    a, b = torch.rand(2, size, size, device=device)
    best = math.inf
    for _ in range(10):
        start = now(device)
        a @ b
        best = min(best, now(device) - start)
    return 3 * mult_adds * cfg.data.batch_size * batches / (size**3 / best)


def device_of(cfg: DictConfig) -> torch.device:
    """The device that trains under a configuration."""
    return build(cfg, "trainer", logger=False, enable_progress_bar=False).strategy.root_device


def clocked():
    """A Lightning callback that times training and validation of its one epoch."""
    import pytorch_lightning as pl

    class Clock(pl.Callback):
        def on_train_epoch_start(self, trainer, module) -> None:
            self.start, self.device = now(module.device), module.device

        def on_validation_start(self, trainer, module) -> None:
            self.trained = now(module.device)

        def on_train_end(self, trainer, module) -> None:
            self.end = now(module.device)

        def seconds(self) -> tuple[float, float]:
            return self.trained - self.start, self.end - self.trained

    return Clock()


def now(device: torch.device) -> float:
    """Seconds on a clock, once the device has done all that it was given."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


if __name__ == "__main__":
    main()
