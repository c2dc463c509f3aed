"""The Lightning module that trains any network to classify images."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from models.lightning.steps import Tally, TrainingSteps
from models.seeding import seed_epoch


class Diverged(ArithmeticError):
    """The training loss is no longer a finite number."""


class Classifier(TrainingSteps):
    """Trains a network by cross entropy, or another loss.

    Logs train/loss, train/acc, val/loss and val/acc once an epoch, and test/loss and test/acc, as
    means over all images.
    train/acc is measured during training, with augmentation and dropout active.

    Args:
        network: normalised float [N, C, H, W] -> outputs [N, K].
        optimizer: from parameters to an optimizer.
        seed: of each epoch's random numbers, see `seed_epoch`.
        options: see TrainingSteps.

    Raises:
        Diverged: the loss of an epoch was not finite.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[[Iterator[nn.Parameter]], Optimizer],
        seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(network, **options)
        self.optimizer, self.seed = optimizer, seed

    def make_optimizer(self) -> Optimizer:
        return self.optimizer(self.network.parameters())

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        seed_epoch(self.seed, self.current_epoch)

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.log_means("train", self.train_tally)
        loss = self.train_tally.sums[0]
        if not torch.isfinite(loss):
            raise Diverged(f"the training loss became {loss:.3g} in epoch {self.current_epoch + 1}")

    def on_validation_epoch_end(self) -> None:
        self.log_means("val", self.val_tally)

    def on_test_epoch_end(self) -> None:
        self.log_means("test", self.val_tally)

    def log_means(self, stage: str, tally: Tally) -> None:
        loss, accuracy = tally.means()
        self.log_dict({f"{stage}/loss": loss, f"{stage}/acc": accuracy})
