"""Images that lie on the device as one tensor, and batches that are an index into it."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch import Tensor

from experiments.cli.checks import check_object, resolved
from experiments.cli.config import build
from experiments.cli.errors import UserError
from experiments.data.digest import keep_digest
from experiments.data.download import fetch
from models.seeding import seed_epoch


class Images(NamedTuple):
    """`images`: uint8 [N, C, H, W]; `labels`: int64 [N], from 0."""

    images: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> "Images":
        return Images(self.images.to(device), self.labels.to(device))


@dataclass
class Batches:
    """Iterates over images on the device in batches; the last batch may be smaller.

    A shuffled order is drawn from the global generator when iteration starts.

    Args:
        seeds: of K networks that are trained at once. Their batches are [K, N], each network's
            in the order that follows from its seed and the epoch, as if it were trained alone;
            with one network, so do augmentation and dropout.
    """

    data: Images
    size: int
    shuffle: bool = False
    seeds: Sequence[int] | None = None
    epoch: int = 0

    def __post_init__(self) -> None:
        self.sampler = self.batch_sampler = self  # Lightning calls their set_epoch

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(len(self.data.labels) / self.size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        images, labels = self.data
        draw = torch.randperm if self.shuffle else torch.arange
        orders = []
        for seed in self.seeds or [None]:
            if seed is not None:
                seed_epoch(seed, self.epoch)
            orders.append(draw(len(labels), device=labels.device))
        order = torch.stack(orders) if self.seeds else orders[0]
        for indices in order.split(self.size, dim=-1):
            flat = indices.flatten()  # index_select takes a third of the time of images[indices]
            yield images.index_select(0, flat).unflatten(0, indices.shape), labels[indices]


@dataclass(eq=False, repr=False)
class ImageData(pl.LightningDataModule):
    """Training and validation images, moved once to the device that trains on them. `test`: where
    validation images were held out; scored once, after the training."""

    train: Images
    val: Images
    batch_size: int
    eval_batch_size: int
    shuffle: bool = True
    test: Images | None = None
    fused_seeds: Sequence[int] | None = None  # of networks that are trained at once

    def __post_init__(self) -> None:
        super().__init__()

    def setup(self, stage: str) -> None:
        device = self.trainer.strategy.root_device
        self.train, self.val = self.train.to(device), self.val.to(device)

    def transfer_batch_to_device(self, batch: Any, device: torch.device, _: int) -> Any:
        return batch  # it is there

    def train_dataloader(self) -> Batches:
        return Batches(self.train, self.batch_size, self.shuffle, self.fused_seeds)

    def val_dataloader(self) -> Batches:
        return Batches(self.val, self.eval_batch_size)


def load(cfg: DictConfig) -> tuple[ImageData, str]:
    """Fetch and read the data of a configuration; with the digest of what was read. UserError: the
    data cannot be fetched or read, or differ from what `data` states.

    With `data.holdout`, that many training images are for validation, and the test images are
    a third set; without it, validation is on the test images."""
    data = cfg.data
    fetch(data)
    train, val, test = _read(cfg, "train"), _read(cfg, "val"), None
    if data.holdout is not None:
        test, (train, val) = val, _hold_out(train, data.holdout)
    read = hashlib.sha256()
    for tensor in (*train, *val, *(test or ())):
        read.update(tensor.numpy())
    digest, shuffle = read.hexdigest()[:12], data.shuffle is not False
    keep_digest(cfg, digest)
    return ImageData(train, val, data.batch_size, data.eval_batch_size, shuffle, test), digest


def _hold_out(images: Images, count: int) -> tuple[Images, Images]:
    """All images but `count`, and those `count`: the same ones for every seed."""
    total = len(images.labels)
    if count >= total:
        text = f"data.holdout is {count:,}, but there are {total:,} training images"
        raise UserError(f"{text}; data.holdout={math.ceil(total / 6)} is a sixth of them")
    order = torch.randperm(total, generator=torch.Generator().manual_seed(0))
    kept, held = (part.sort().values for part in (order[count:], order[:count]))
    return Images(*(part[kept] for part in images)), Images(*(part[held] for part in images))


def _read(cfg: DictConfig, split: str) -> Images:
    data, where = cfg.data, f"the {split} images of {cfg.data.root}"
    if problems := list(check_object(f"data.{split}", resolved(data[split]))):
        raise UserError("; ".join(problems))
    source = build(cfg, f"data.{split}", root=data.root)
    images, labels = torch.as_tensor(source.data), torch.as_tensor(source.targets).long()
    if len(images) != len(labels):
        raise UserError(f"{where} are {len(images):,}, but have {len(labels):,} labels")
    if images.ndim == 3:
        images = images.unsqueeze(1)
    if data.transposed:
        images = images.mT
    if labels.ndim == 2:  # QMNIST: the class, then who wrote it
        labels = labels[:, 0]
    if images.shape[1] == 1:  # grey: the same in each channel
        images = images.expand(-1, data.in_channels, -1, -1)
    if data.classes is not None:
        chosen = torch.isin(labels, torch.tensor(list(data.classes)))
        images, labels = images[chosen], labels[chosen]
    if not len(labels):
        raise UserError(f"{where}: there are none of data.classes={data.classes}")
    shape = (data.in_channels, data.image_size, data.image_size)
    if tuple(images.shape[1:]) != shape:
        raise UserError(
            f"data.in_channels, data.image_size: {where} are {tuple(images.shape[1:])} (channels, "
            f"rows, columns), not {shape}"
        )
    if not 0 <= labels.min() <= labels.max() < data.num_classes:
        raise UserError(
            f"data.num_classes is {data.num_classes}, but the labels of {where} "
            f"go from {labels.min()} to {labels.max()}"
        )
    return Images(images.contiguous(), labels.contiguous())
