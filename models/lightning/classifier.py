"""The Lightning module that trains any network to classify images."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any, Self

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from models.augmentation import Normalize
from models.lightning.learner import Learner
from models.schedules import MakeSchedule, make_schedule, steps_every_batch
from models.seeding import seed_epoch

Batch = tuple[Tensor, Tensor]  # images, labels
# mean loss and correct answers of a batch, [] or [K] of K networks, and its number of images; left
# on the device, so that no batch waits for the host
Scored = tuple[Tensor, Tensor, int]


class Diverged(ArithmeticError):
    """The training loss of an epoch is not a finite number."""

    @classmethod
    def of(cls, loss: float, epoch: int) -> Self:
        return cls(f"the training loss became {loss:.3g} in epoch {epoch}")


def means(batches: list[Scored]) -> Tensor:
    """[2] or [2, K]: mean loss, and accuracy from 0 to 1, over all images of some batches."""
    losses, correct, counts = zip(*batches, strict=True)
    images = torch.tensor(counts, device=losses[0].device)
    loss = (torch.stack(losses, -1) * images).sum(-1) / images.sum()
    return torch.stack((loss, torch.stack(correct).sum(0) / images.sum()))


class Classifier(pl.LightningModule):
    """Trains a network by cross entropy, or another loss.

    Logs train/loss, train/acc, val/loss and val/acc once an epoch, and test/loss and test/acc, as
    means over all images. train/acc is measured during training, with augmentation and dropout
    active. It optimizes by itself, as Lightning's automatic optimization takes as long again as
    all else that Lightning does around a batch.

    Args:
        network: normalised float [N, C, H, W] -> outputs [N, K].
        optimizer: from parameters to an optimizer.
        seed: of each epoch's random numbers, see `seed_epoch`.
        scheduler: from an optimizer to a schedule, see `steps_every_batch`.
        mean, std: see Normalize.
        augmentation, options: see Learner.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[[Iterable], Optimizer],
        seed: int = 0,
        scheduler: MakeSchedule | None = None,
        augmentation: nn.Module | None = None,
        mean: float = 0.0,
        std: float = 1.0,
        **options: Any,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network, self.optimizer, self.seed = network, optimizer, seed
        self.augmentation, self.normalize = augmentation, Normalize(mean, std)
        self.learn = Learner(network, self.normalize, augmentation, **options)
        self.make_scheduler, self.every_batch = scheduler, steps_every_batch(scheduler)
        self.train_scores: list[Scored] = []  # of this epoch
        self.val_scores: list[Scored] = []

    def __setattr__(self, name: str, value: Any) -> None:
        """Plainly for a text: Lightning sets one twice at each of its hooks, and nn.Module would
        first look whether it is a parameter, a buffer or a module."""
        if name in vars(self) and isinstance(value, str | None):
            vars(self)[name] = value
        else:
            super().__setattr__(name, value)

    def parameter_groups(self) -> Iterable:
        return self.network.parameters()

    def configure_optimizers(self) -> Optimizer | dict[str, Any]:
        optimizer = self.optimizer(self.parameter_groups())
        if self.make_scheduler is None:
            return optimizer
        batches = int(self.trainer.estimated_stepping_batches)
        schedule = make_schedule(self.make_scheduler, optimizer, batches)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_train_epoch_start(self) -> None:
        self.train_scores = []
        self.learn.batches.clear()
        seed_epoch(self.seed, self.current_epoch)

    def training_step(self, batch: Batch, _: int) -> Tensor:
        images, labels = batch
        optimizer = self.optimizers()
        optimizer.zero_grad()  # first: a CUDA graph overwrites the gradients of the last pass
        loss, correct = self.learn(images, labels)
        kept = loss.detach().clone()  # a CUDA graph overwrites both
        self.train_scores.append((kept, correct.clone(), labels.shape[-1]))
        # networks of a stack share no weight: each has a gradient of its own loss
        self.manual_backward(loss, torch.ones_like(loss))
        optimizer.step()
        if self.every_batch:
            self.lr_schedulers().step()
        return kept

    # Lightning asks for it at each batch
    training_step.__signature__ = inspect.signature(training_step)

    def on_train_epoch_end(self) -> None:
        self.end_epoch()
        self.log_means("train", self.train_scores)
        loss = means(self.train_scores)[0]
        if not torch.isfinite(loss):
            raise Diverged.of(loss.item(), self.current_epoch + 1)

    def end_epoch(self) -> None:
        if self.make_scheduler and not self.every_batch:
            self.lr_schedulers().step()

    def on_validation_epoch_start(self) -> None:
        self.val_scores = []

    def validation_step(self, batch: Batch, _: int) -> None:
        images, labels = batch
        self.val_scores.append((*self.learn.evaluate(images, labels), len(labels)))

    def on_validation_epoch_end(self) -> None:
        self.log_means("val", self.val_scores)

    on_test_epoch_start, test_step = on_validation_epoch_start, validation_step

    def on_test_epoch_end(self) -> None:
        self.log_means("test", self.val_scores)

    def forward(self, images: Tensor) -> Tensor:
        """[N, C, H, W], pixels from 0 to 255 -> outputs [N, K]."""
        return self.learn.outputs(images)

    def predict_step(self, batch: Batch, _: int) -> Tensor:
        return self(batch[0])

    def log_means(self, stage: str, scores: list[Scored]) -> None:
        loss, accuracy = means(scores)
        self.log_dict({f"{stage}/loss": loss, f"{stage}/acc": accuracy})

    def progress(self, stage: str = "train") -> list[float]:
        """Mean loss and accuracy so far in this epoch, over all networks; waits for the device."""
        scores = self.train_scores if stage == "train" else self.val_scores
        return means(scores).view(2, -1).mean(1).tolist()
