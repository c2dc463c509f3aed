"""Training and validation steps, as Lightning calls them."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from models.lightning.learner import Learner, Loss, score
from models.normalize import Normalize
from models.schedules import MakeSchedule, make_schedule, steps_every_batch

Batch = tuple[Tensor, Tensor]  # images, labels


class Tally(nn.Module):
    """Sums of loss and correct answers, kept on the device so that no batch waits for the host.

    Args:
        shape: of what is counted: () for one network, (K,) for K networks.
    """

    def __init__(self, *shape: int) -> None:
        super().__init__()
        self.register_buffer("sums", torch.zeros(2, *shape), persistent=False)
        self.images = 0

    def reset(self) -> None:
        self.sums.zero_()
        self.images = 0

    @torch.no_grad()
    def add(self, loss: Tensor, correct: Tensor, images: int) -> None:
        """loss: mean over the batch; correct: answers in it; images: its size."""
        self.sums.add_(torch.stack((loss * images, correct)))
        self.images += images

    def means(self) -> Tensor:
        """[2, *shape]: mean loss, and accuracy from 0 to 1, over the images since the reset."""
        return self.sums / self.images


class TrainingSteps(pl.LightningModule):
    """Trains on groups of batches, steps the schedule, and counts loss and accuracy.

    A training step takes a group of batches, because what Lightning does around each step takes
    about 0.5 ms, a tenth of the time of a batch.

    Args:
        network, augmentation, batch_size, compiled, loss, score: see Learner.
        scheduler: from an optimizer to a schedule that steps once an epoch, or with
            each batch, see `steps_every_batch`.
        mean, std: see Normalize.
        batches: of the whole training, for a schedule that steps with each batch.
        networks: the shape of a batch's loss: () for one network, (K,) for a stack of K.

    Attributes:
        losses: of each batch of this epoch.
    """

    def __init__(
        self,
        network: nn.Module,
        scheduler: MakeSchedule | None = None,
        augmentation: nn.Module | None = None,
        mean: float = 0.0,
        std: float = 1.0,
        batch_size: int = 1,
        compiled: str | None = None,
        loss: Loss = F.cross_entropy,
        batches: int = 0,
        score: Callable[..., tuple[Tensor, Tensor]] = score,
        networks: tuple[int, ...] = (),
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network, self.augmentation = network, augmentation
        self.normalize = Normalize(mean, std)
        self.learn = Learner(
            network, self.normalize, augmentation, batch_size, compiled, loss, score
        )
        self.make_scheduler, self.batches = scheduler, batches
        self.schedule_every_batch = steps_every_batch(scheduler)
        self.losses: list[Tensor] = []
        self.train_tally, self.val_tally = Tally(*networks), Tally(*networks)

    def with_schedule(self, optimizer: Optimizer) -> Optimizer | dict[str, Any]:
        """What Lightning's configure_optimizers returns for an optimizer."""
        if self.make_scheduler is None:
            return optimizer
        schedule = make_schedule(self.make_scheduler, optimizer, self.batches)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_train_epoch_start(self) -> None:
        self.train_tally.reset()
        self.losses = []

    def training_step(self, batches: list[Batch], _: int) -> None:
        optimizer = self.optimizers()
        for batch in batches[:-1]:
            self.train_on(batch, optimizer.optimizer)
        self.train_on(batches[-1], optimizer)  # Lightning counts one step: counting takes time

    def train_on(self, batch: Batch, optimizer: Optimizer) -> None:
        """One step of the optimizer."""
        images, labels = batch
        loss, correct = self.learn(images, labels)
        self.train_tally.add(loss, correct, labels.shape[-1])
        self.losses.append(loss.detach().clone())  # a CUDA graph overwrites the loss
        optimizer.zero_grad()
        loss.sum().backward()  # networks of a stack share no weight: each gets its own gradient
        optimizer.step()
        if self.schedule_every_batch:
            self.lr_schedulers().step()

    def on_train_epoch_end(self) -> None:
        schedule = self.lr_schedulers()
        if schedule and not self.schedule_every_batch:
            schedule.step()

    def on_validation_epoch_start(self) -> None:
        self.val_tally.reset()

    def validation_step(self, batch: Batch, _: int) -> None:
        images, labels = batch
        self.val_tally.add(*self.learn.evaluate(images, labels), len(labels))

    def progress(self, stage: str = "train") -> list[float]:
        """Mean loss and accuracy so far in this epoch, over all networks; waits for the device."""
        tally = self.train_tally if stage == "train" else self.val_tally
        return tally.means().view(2, -1).mean(1).tolist()
