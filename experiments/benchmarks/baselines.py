"""What people run instead of ours: the notebook recipe, a usual Lightning project, a bare loop.

python -m experiments.benchmarks.baselines step=s13 seed=0     # the notebook recipe as a program

Each trains one epoch and returns its seconds of training and of validation.
"""

import itertools
import json
import math
import time
from pathlib import Path

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from PIL import Image
from pytorch_lightning.loggers import MLFlowLogger
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchmetrics import Accuracy
from torchvision import transforms

from experiments.budget.network import design
from experiments.cli.config import build
from experiments.cli.program import program
from experiments.data.images import Batches, ImageData, Images, load
from models.lightning.learner import Learner


@program("train")
def main(cfg: DictConfig) -> None:
    """Train by the notebook recipe; print the seconds of each epoch as JSON."""
    network, _ = design(cfg)
    data, _ = load(cfg)
    seconds = [sum(notebook(cfg, network, data)) for _ in range(cfg.trainer.max_epochs)]
    print(json.dumps(seconds))


class PILImages(Dataset):
    """Images that are transformed one by one when they are asked for, as torchvision's are."""

    def __init__(self, images: Images, transform: transforms.Compose) -> None:
        self.images, self.labels = images.images[:, 0].cpu(), images.labels.cpu()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index].numpy())
        return self.transform(image), int(self.labels[index])


def loaders(cfg: DictConfig, data: ImageData, workers: int) -> tuple[DataLoader, DataLoader]:
    """DataLoaders of training and validation, with torchvision's transforms."""
    augmentation, rotate = cfg.augmentation, []
    if augmentation is not None and not (augmentation.translate or augmentation.scale):
        rotate = [transforms.RandomRotation(augmentation.degrees)]
    elif augmentation is not None:
        shift, spread = augmentation.translate, augmentation.scale
        scale = (1 - spread, 1 + spread)
        rotate = [transforms.RandomAffine(augmentation.degrees, (shift, shift), scale)]
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
    """The loop that notebooks have.

    Args:
        batches: of training and of validation at most; None: all.
    """
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


class UsualModule(pl.LightningModule):
    """A classifier as Lightning's tutorials write it."""

    def __init__(self, network: nn.Module, cfg: DictConfig) -> None:
        super().__init__()
        self.network, self.cfg = network, cfg
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
        return build(self.cfg, "optimizer")(self.parameters())


def lightning(
    cfg: DictConfig, network: nn.Module, data: ImageData, folder: Path, batches: int | None = None
) -> tuple[float, float]:
    """A usual Lightning project: DataLoader, transforms, torchmetrics, MLFlowLogger."""
    train, val = loaders(cfg, data, workers=0)
    clock = Clock()
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator=cfg.trainer.accelerator,
        devices=1,
        logger=MLFlowLogger(
            tracking_uri=f"sqlite:///{folder}/usual.db", artifact_location=str(folder)
        ),
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_train_batches=batches,
        limit_val_batches=batches,
        callbacks=[clock],
    )
    trainer.fit(UsualModule(network, cfg), train, val)
    return clock.seconds()


def bare(
    cfg: DictConfig, learn: Learner, data: ImageData, batches: int | None = None
) -> tuple[float, float]:
    """A loop over images on the device, without Lightning, metrics or tracking.

    Args:
        learn: computes the loss as ours does.
    """
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
    """The least seconds that the multiplications of an epoch's training take.

    Forward, and backward to the inputs and to the weights: three times the multiply-adds of
    the forward pass, at the rate of a product of two square matrices of `size`, the best of ten.
    """
    device = device_of(cfg)
    a, b = torch.rand(2, size, size, device=device)
    best = math.inf
    for _ in range(10):
        start = now(device)
        a @ b
        best = min(best, now(device) - start)
    return 3 * mult_adds * cfg.data.batch_size * batches / (size**3 / best)


class Clock(pl.Callback):
    """Times training and validation of one epoch."""

    def on_train_epoch_start(self, trainer, module) -> None:
        self.start = now(module.device)

    def on_validation_start(self, trainer, module) -> None:
        self.trained = now(module.device)

    def on_train_end(self, trainer, module) -> None:
        self.end = now(module.device)

    def seconds(self) -> tuple[float, float]:
        return self.trained - self.start, self.end - self.trained


def now(device: torch.device) -> float:
    """Seconds on a clock, once the device has finished all its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def device_of(cfg: DictConfig) -> torch.device:
    """The device that trains under a configuration."""
    return build(cfg, "trainer", logger=False, enable_progress_bar=False).strategy.root_device


if __name__ == "__main__":
    main()
