"""Training and validation steps, as Lightning calls them."""

from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from models.augmentation import Normalize
from models.lightning.learner import Learner
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
    """Trains on batches, steps the schedule, and counts loss and accuracy.

    Lightning's manual optimization: what it does around a batch takes 0.2 ms, half of the time
    that its automatic optimization takes.

    Args:
        scheduler: from an optimizer to a schedule, see `steps_every_batch`.
        mean, std: see Normalize.
        networks: the shape of a batch's loss: () for one network, (K,) for a stack of K.
        network, augmentation, options: see Learner.

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
        networks: tuple[int, ...] = (),
        **options: Any,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network, self.augmentation = network, augmentation
        self.normalize = Normalize(mean, std)
        self.learn = Learner(network, self.normalize, augmentation, **options)
        self.make_scheduler, self.every_batch = scheduler, steps_every_batch(scheduler)
        self.losses: list[Tensor] = []
        self.train_tally, self.val_tally = Tally(*networks), Tally(*networks)

    def make_optimizer(self) -> Optimizer:
        raise NotImplementedError

    def configure_optimizers(self) -> Optimizer | dict[str, Any]:
        optimizer = self.make_optimizer()
        if self.make_scheduler is None:
            return optimizer
        batches = int(self.trainer.estimated_stepping_batches)
        schedule = make_schedule(self.make_scheduler, optimizer, batches)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_train_epoch_start(self) -> None:
        self.train_tally.reset()
        self.losses = []
        self.learn.batches.clear()

    def training_step(self, batch: Batch, _: int) -> Tensor:
        images, labels = batch
        optimizer = self.optimizers()
        optimizer.zero_grad()  # first: a CUDA graph overwrites the gradients of the last pass
        loss, correct = self.learn(images, labels)
        self.train_tally.add(loss, correct, labels.shape[-1])
        self.losses.append(loss.detach().clone())  # a CUDA graph overwrites the loss
        # networks of a stack share no weight: each gets its own gradient of the sum
        self.manual_backward(loss.sum())
        optimizer.step()
        if self.every_batch:
            self.lr_schedulers().step()
        return self.losses[-1]

    def on_train_epoch_end(self) -> None:
        if self.make_scheduler and not self.every_batch:
            self.lr_schedulers().step()

    def on_validation_epoch_start(self) -> None:
        self.val_tally.reset()

    def validation_step(self, batch: Batch, _: int) -> None:
        images, labels = batch
        self.val_tally.add(*self.learn.evaluate(images, labels), len(labels))

    on_test_epoch_start, test_step = on_validation_epoch_start, validation_step

    def progress(self, stage: str = "train") -> list[float]:
        """Mean loss and accuracy so far in this epoch, over all networks; waits for the device."""
        tally = self.train_tally if stage == "train" else self.val_tally
        return tally.means().view(2, -1).mean(1).tolist()
