"""What people run instead of ours: the notebook recipe, a usual Lightning project, a bare loop.

python -m experiments.benchmarks.baselines step=s13 seed=0     # the notebook recipe as a program

Each trains an epoch, and returns its times.
"""

import itertools
import json
import time
from collections.abc import Iterator

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.loggers import MLFlowLogger
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchmetrics.functional import accuracy
from torchvision import transforms
from torchvision.datasets import MNIST

from experiments.budget.network import design
from experiments.cli.config import build
from experiments.cli.program import program
from experiments.data.images import Batches, ImageData, Images, load
from models.lightning.learner import Learner
from models.schedules import make_schedule, steps_every_batch

Times = list[float]  # the start of an epoch, the end of its training, the end of its validation


@program("train")
def main(cfg: DictConfig) -> None:
    """Train by the notebook recipe; print each epoch as a line of JSON."""
    data, _ = load(cfg)
    for (start, _, end), right in notebook(cfg, data):
        print(json.dumps({"seconds": end - start, "val/acc": right}), flush=True)


class PILImages(MNIST):
    """Any images as torchvision's MNIST, which transforms them one by one when asked for them."""

    def __init__(self, images: Images, *steps: nn.Module) -> None:
        self.data, self.targets = images.images[:, 0].cpu(), images.labels.cpu()
        self.transform, self.target_transform = transforms.Compose(steps), None


def loaders(cfg: DictConfig, data: ImageData, workers: int = 0) -> tuple[DataLoader, DataLoader]:
    """DataLoaders of training and validation, with torchvision's transforms."""
    augment, given = [], cfg.augmentation
    if given is not None and (given.translate or given.scale):
        shift, scale = (given.translate,) * 2, (1 - given.scale, 1 + given.scale)
        augment = [transforms.RandomAffine(given.degrees, shift, scale)]
    elif given is not None:
        augment = [transforms.RandomRotation(given.degrees)]
    usual = [transforms.ToTensor(), transforms.Normalize((cfg.data.mean,), (cfg.data.std,))]
    options = {"batch_size": cfg.data.batch_size, "num_workers": workers}
    train = DataLoader(PILImages(data.train, *augment, *usual), shuffle=True, **options)
    return train, DataLoader(PILImages(data.val, *usual), **options)


def notebook(cfg: DictConfig, data: ImageData, workers: int = 0) -> Iterator[tuple[Times, float]]:
    """The loop that notebooks have; yields the times and the validation accuracy of each epoch."""
    device = device_of(cfg)
    train, val = loaders(cfg, data, workers)
    network = design(cfg)[0].to(device)
    optimizer = build(cfg, "optimizer")(network.parameters())
    make = build(cfg, "scheduler")
    scheduler = make and make_schedule(make, optimizer, cfg.trainer.max_epochs * len(train))
    for _ in range(cfg.trainer.max_epochs):
        times = [now()]
        network.train()
        correct = seen = 0
        for batch in train:
            images, labels = (tensor.to(device) for tensor in batch)
            optimizer.zero_grad()
            logits = network(images)
            loss = F.cross_entropy(logits, labels)
            loss.backward()
            optimizer.step()
            if steps_every_batch(make):
                scheduler.step()
            correct += logits.argmax(1).eq(labels).sum().item()
            seen += len(labels)
            f"loss {loss.item():.4f}, accuracy {correct / seen:.2%}"  # for a progress bar
        if scheduler and not steps_every_batch(make):
            scheduler.step()
        times.append(now())
        network.eval()
        loss, correct = 0.0, 0
        with torch.no_grad():
            for batch in val:
                images, labels = (tensor.to(device) for tensor in batch)
                logits = network(images)
                loss += F.cross_entropy(logits, labels, reduction="sum").item()
                correct += logits.argmax(1).eq(labels).sum().item()
        times.append(now())
        yield times, correct / len(val.dataset)


class UsualModule(pl.LightningModule):
    """A classifier as Lightning's tutorials write it."""

    def __init__(self, cfg: DictConfig) -> None:
        super().__init__()
        self.network, self.cfg = design(cfg)[0], cfg

    def shared_step(self, batch, stage: str) -> Tensor:
        images, labels = batch
        logits = self.network(images)
        loss = F.cross_entropy(logits, labels)
        right = accuracy(logits, labels, "multiclass", num_classes=self.cfg.data.num_classes)
        scores = {f"{stage}/loss": loss, f"{stage}/acc": right}
        self.log_dict(scores, on_step=False, on_epoch=True)
        return loss

    def training_step(self, batch, _):
        return self.shared_step(batch, "train")

    def validation_step(self, batch, _):
        self.shared_step(batch, "val")

    def configure_optimizers(self):
        return build(self.cfg, "optimizer")(self.parameters())


def lightning(cfg: DictConfig, data: ImageData) -> Times:
    """A usual Lightning project: DataLoader, transforms, torchmetrics, MLFlowLogger."""
    clock, folder = Clock(), cfg.checkpoints.root
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator=cfg.trainer.accelerator,
        devices=1,
        logger=MLFlowLogger(tracking_uri=cfg.tracking.uri, artifact_location=folder),
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[clock],
    )
    trainer.fit(UsualModule(cfg), *loaders(cfg, data))
    return clock.times


def bare(cfg: DictConfig, learn: Learner, data: ImageData) -> Times:
    """A loop over images on the device with the arithmetic of `learn`, and nothing else."""
    device = device_of(cfg)
    train, val = data.train.to(device), data.val.to(device)
    network = learn.network.to(device)
    optimizer = build(cfg, "optimizer")(network.parameters())
    times = [now()]
    network.train()
    for images, labels in Batches(train, cfg.data.batch_size, shuffle=True):
        loss, _ = learn(images, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    times.append(now())
    network.eval()
    with torch.inference_mode():
        for images, labels in Batches(val, cfg.data.eval_batch_size):
            learn.evaluate(images, labels)
    return [*times, now()]


def floor(cfg: DictConfig, mult_adds: int, data: ImageData, size: int = 1024) -> Times:
    """The least time that the multiplications of an epoch's training take.

    Forward, and backward to the inputs and to the weights: three times the multiply-adds of
    the forward pass, at the rate of a product of two square matrices of `size`, the best of ten.
    """
    a, b = torch.rand(2, size, size, device=device_of(cfg))
    marks = [now()]
    for _ in range(10):
        a @ b
        marks.append(now())
    best = min(end - start for start, end in itertools.pairwise(marks))
    seconds = 3 * mult_adds * len(data.train.labels) * best / size**3
    return [0, seconds, seconds]


class Clock(pl.Callback):
    """Notes the times of an epoch."""

    def on_train_epoch_start(self, trainer, module) -> None:
        self.times = [now()]

    def on_validation_start(self, trainer, module) -> None:
        self.times.append(now())

    on_train_end = on_validation_start


def now() -> float:
    """Seconds on a clock, once the device has finished all its work."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return time.perf_counter()


def device_of(cfg: DictConfig) -> torch.device:
    """The device that trains under a configuration."""
    return build(cfg, "trainer", logger=False, enable_progress_bar=False).strategy.root_device


if __name__ == "__main__":
    main()
