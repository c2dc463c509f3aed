"""What people run instead of ours: the notebook recipe, a usual Lightning project, a bare loop.

python -m experiments.benchmarks.baselines step=s13 seed=0     # the notebook recipe as a program

Each trains epochs, and returns their times.
"""

import json
import time
import timeit
from collections.abc import Callable, Iterable, Iterator

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.loggers import MLFlowLogger
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.utils.data import DataLoader
from torchmetrics.functional import accuracy
from torchvision import transforms
from torchvision.datasets import MNIST

from experiments.budget.network import build_network
from experiments.cli.config import build
from experiments.cli.program import program
from experiments.data.images import Batches, ImageData, Images, load
from experiments.training.trainer import device_of
from models.lightning.learner import Learner

Times = list[float]  # the start of an epoch, the end of its training, the end of its validation
Loader = Iterable[tuple[Tensor, Tensor]]  # images, labels
FindLoss = Callable[[Tensor, Tensor], Tensor]  # images, labels -> loss []


@program("train")
def main(cfg: DictConfig) -> None:
    """Train by the notebook recipe; print each epoch as a line of JSON."""
    for (start, _, end), right in notebook(cfg, load(cfg)[0]):
        print(json.dumps({"seconds": end - start, "val/acc": right}), flush=True)


def plain_loop(
    optimizer: Optimizer, network: nn.Module, train: Loader, val: Loader, find_loss: FindLoss
) -> Times:
    """An epoch of training and validation."""
    times = [now()]
    network.train()
    for batch in train:
        optimizer.zero_grad()  # first: a CUDA graph overwrites the gradients of the last pass
        loss = find_loss(*batch)
        loss.backward()
        optimizer.step()
    times.append(now())
    network.eval()
    with torch.inference_mode():
        for batch in val:
            find_loss(*batch)
    network.train()  # as Lightning expects to find it
    return [*times, now()]


class PILImages(MNIST):
    """Any images as torchvision's MNIST, which transforms them one by one when asked for them."""

    def __init__(self, images: Images, *steps: nn.Module) -> None:
        self.data, self.targets = images.images[:, 0].cpu(), images.labels.cpu()
        self.transform, self.target_transform = transforms.Compose(steps), None


def loaders(cfg: DictConfig, data: ImageData, workers: int = 0) -> tuple[DataLoader, DataLoader]:
    """DataLoaders of training and validation, with torchvision's transforms."""
    augment, given = [], cfg.augmentation
    if given is not None and not (given.translate or given.scale):
        augment = [transforms.RandomRotation(given.degrees)]
    elif given is not None:
        shift, scale = (given.translate,) * 2, (1 - given.scale, 1 + given.scale)
        augment = [transforms.RandomAffine(given.degrees, shift, scale)]
    usual = [transforms.ToTensor(), transforms.Normalize((cfg.data.mean,), (cfg.data.std,))]
    options = {"batch_size": cfg.data.batch_size, "num_workers": workers}
    train = DataLoader(PILImages(data.train, *augment, *usual), shuffle=True, **options)
    return train, DataLoader(PILImages(data.val, *usual), **options)


def notebook(cfg: DictConfig, data: ImageData, workers: int = 0) -> Iterator[tuple[Times, float]]:
    """The loop that notebooks have: of each epoch its times and its validation accuracy."""
    device = device_of(cfg)
    network = build_network(cfg).to(device)
    optimizer = build(cfg, "optimizer")(network.parameters())
    make = build(cfg, "scheduler")
    schedule = make and make(optimizer)
    train, val = loaders(cfg, data, workers)
    right: list[int] = []  # answers of each batch

    def find_loss(images: Tensor, labels: Tensor) -> Tensor:
        labels = labels.to(device)
        logits = network(images.to(device))
        loss = F.cross_entropy(logits, labels)
        right.append(logits.argmax(1).eq(labels).sum().item())
        f"loss {loss.item():.4f}, accuracy {right[-1] / len(labels):.2%}"  # for a progress bar
        return loss

    for _ in range(cfg.trainer.max_epochs):
        times = plain_loop(optimizer, network, train, val, find_loss)
        if schedule:
            schedule.step()  # once an epoch, as the ladder's does
        yield times, sum(right[-len(val) :]) / len(val.dataset)


def bare(cfg: DictConfig, learn: Learner, data: ImageData) -> Times:
    """A loop over images on the device with the arithmetic of `learn`, and nothing else."""
    device = device_of(cfg)
    network = learn.network.to(device)
    optimizer = build(cfg, "optimizer")(network.parameters())
    train = Batches(data.train.to(device), cfg.data.batch_size, shuffle=True)
    val = Batches(data.val.to(device), cfg.data.eval_batch_size)

    def find_loss(images: Tensor, labels: Tensor) -> Tensor:
        return (learn if network.training else learn.evaluate)(images, labels)[0]

    return plain_loop(optimizer, network, train, val, find_loss)


class UsualModule(pl.LightningModule):
    """A classifier as Lightning's tutorials write it."""

    def __init__(self, cfg: DictConfig) -> None:
        super().__init__()
        self.network, self.cfg = build_network(cfg), cfg

    def training_step(self, batch: list[Tensor], _: int, stage: str = "train") -> Tensor:
        images, labels = batch
        logits = self.network(images)
        loss = F.cross_entropy(logits, labels)
        right = accuracy(logits, labels, "multiclass", num_classes=self.cfg.data.num_classes)
        scores = {f"{stage}/loss": loss, f"{stage}/acc": right}
        self.log_dict(scores, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: list[Tensor], index: int) -> None:
        self.training_step(batch, index, stage="val")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return build(self.cfg, "optimizer")(self.parameters())


def lightning(cfg: DictConfig, data: ImageData) -> Times:
    """A usual Lightning project: DataLoader, transforms, torchmetrics, MLFlowLogger."""
    clock, folder = Clock(), cfg.checkpoints.root
    logger = MLFlowLogger(tracking_uri=cfg.tracking.uri, artifact_location=folder)
    options = {"default_root_dir": folder, "enable_progress_bar": False, "callbacks": [clock]}
    trainer = build(cfg, "trainer", logger=logger, **options)
    trainer.fit(UsualModule(cfg), *loaders(cfg, data))
    return clock.times


def floor(cfg: DictConfig, mult_adds: int, data: ImageData) -> Times:
    """The least time that the multiplications of an epoch's training take: forward, and backward to
    the inputs and to the weights, so three times the multiply-adds of the forward pass, at the rate
    of a product of two matrices of 1024 by 1024, the best of ten."""
    size = 1024
    a, b = torch.rand(2, size, size, device=device_of(cfg))
    best = min(timeit.repeat(lambda: [a @ b, now()], number=1, repeat=10))
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


if __name__ == "__main__":
    main()
