"""Images that lie on the device as one tensor, and batches that are an index into it."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch import Tensor

from experiments.cli.config import build, require_int
from experiments.cli.errors import UserError
from experiments.data.download import fetch
from models.seeding import seed_epoch


class Images(NamedTuple):
    """`images`: uint8 [N, C, H, W]; `labels`: int64 [N], from 0."""

    images: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> "Images":
        return Images(self.images.to(device), self.labels.to(device))


class Batches:
    """Iterates over images on the device in batches; the last batch may be smaller.

    A shuffled order is drawn from the global generator when iteration starts.
    """

    def __init__(self, data: Images, size: int, shuffle: bool = False) -> None:
        self.data, self.size, self.shuffle = data, size, shuffle

    def __len__(self) -> int:
        return math.ceil(len(self.data.labels) / self.size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        images, labels = self.data
        if self.shuffle:
            order = torch.randperm(len(labels), device=labels.device)
            for indices in order.split(self.size):
                yield images[indices], labels[indices]
        else:
            yield from zip(images.split(self.size), labels.split(self.size), strict=True)


class FusedBatches:
    """The batches of K networks that are trained at once, [K, N], each in its own order.

    The order follows from the network's seed and the epoch, as it does for a network that is
    trained alone; with one network, so do augmentation and dropout.
    """

    def __init__(self, data: Images, size: int, seeds: Sequence[int], shuffle: bool = True) -> None:
        self.data, self.size, self.seeds, self.shuffle = data, size, seeds, shuffle
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(len(self.data.labels) / self.size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        images, labels = self.data
        orders = []
        for seed in self.seeds:
            seed_epoch(seed, self.epoch)
            order = torch.randperm if self.shuffle else torch.arange
            orders.append(order(len(labels), device=labels.device))
        for indices in torch.stack(orders).split(self.size, dim=1):
            yield images[indices], labels[indices]


class BatchGroups:
    """Iterates over lists of batches, one list for each training step (see TrainingSteps)."""

    SIZE = 32

    def __init__(self, batches: Batches | FusedBatches) -> None:
        self.batches = batches
        self.sampler = batches  # before each epoch, Lightning calls set_epoch of a sampler

    def __len__(self) -> int:
        return math.ceil(len(self.batches) / self.SIZE)

    def __iter__(self) -> Iterator[list[tuple[Tensor, Tensor]]]:
        batches = iter(self.batches)
        while group := list(islice(batches, self.SIZE)):
            yield group


class ImageData(pl.LightningDataModule):
    """Training and validation images, moved once to the device that trains on them."""

    def __init__(
        self,
        train: Images,
        val: Images,
        batch_size: int,
        eval_batch_size: int,
        shuffle: bool = True,
    ) -> None:
        super().__init__()
        self.shuffle = shuffle
        self.train, self.val = train, val
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.fused_seeds: Sequence[int] | None = None  # of networks that are trained at once

    def setup(self, stage: str) -> None:
        device = self.trainer.strategy.root_device
        self.train, self.val = self.train.to(device), self.val.to(device)

    def train_dataloader(self) -> BatchGroups:
        if self.fused_seeds is not None:
            seeds = self.fused_seeds
            return BatchGroups(FusedBatches(self.train, self.batch_size, seeds, self.shuffle))
        return BatchGroups(Batches(self.train, self.batch_size, self.shuffle))

    def val_dataloader(self) -> Batches:
        return Batches(self.val, self.eval_batch_size)


def load(cfg: DictConfig) -> tuple[ImageData, str]:
    """Fetch and read the data of a configuration; with the digest of what was read.

    With `data.holdout`, validation is on that many of the training images, and the test images
    are not read.

    Raises:
        UserError: the data cannot be fetched or read, or differ from what `data` states.
    """
    fetch(cfg.data)
    train = _read(cfg, "train")
    if cfg.data.holdout is None:
        val = _read(cfg, "val")
    else:
        train, val = hold_out(train, require_int(cfg, "data.holdout", 1))
    digest = hashlib.sha256()
    for tensor in (*train, *val):
        digest.update(tensor.numpy())
    shuffle = cfg.data.shuffle is not False
    module = ImageData(train, val, cfg.data.batch_size, cfg.data.eval_batch_size, shuffle)
    return module, digest.hexdigest()[:12]


def hold_out(images: Images, count: int) -> tuple[Images, Images]:
    """All images but `count`, and those `count`: the same ones for every seed.

    Raises:
        UserError: no image would be left to train on.
    """
    total = len(images.labels)
    if count >= total:
        raise UserError(f"data.holdout is {count:,}, but there are {total:,} training images")
    order = torch.randperm(total, generator=torch.Generator().manual_seed(0))
    kept, held = order[count:].sort().values, order[:count].sort().values
    return Images(*(part[kept] for part in images)), Images(*(part[held] for part in images))


def _read(cfg: DictConfig, split: str) -> Images:
    data, where = cfg.data, f"the {split} images of {cfg.data.root}"
    source = build(cfg, f"data.{split}", root=data.root)
    images, labels = torch.as_tensor(source.data), torch.as_tensor(source.targets).long()
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
            raise UserError(f"data.classes={data.classes}: {where} have none of these classes")
    shape = (data.in_channels, data.image_size, data.image_size)
    if tuple(images.shape[1:]) != shape:
        raise UserError(
            f"data.image_size, data.in_channels: {where} are {tuple(images.shape[1:])}, not {shape}"
        )
    if len(images) != len(labels) or not len(images):
        raise UserError(f"{where} are {len(images):,}, but have {len(labels):,} labels")
    if not 0 <= labels.min() <= labels.max() < data.num_classes:
        raise UserError(
            f"data.num_classes is {data.num_classes}, but the labels of {where} "
            f"go from {labels.min()} to {labels.max()}"
        )
    return Images(images.contiguous(), labels.contiguous())
