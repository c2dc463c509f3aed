"""The Lightning module that trains any network to classify images."""

from collections.abc import Callable, Iterator

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from models.lightning.learner import Learner, Loss, Normalize
from models.schedule import make_schedule, moves_with_each_batch

Batch = tuple[Tensor, Tensor]  # images, labels


class Diverged(ArithmeticError):
    """The training loss is no longer a finite number."""


class Classifier(pl.LightningModule):
    """Trains a network by cross entropy, or another loss; counts loss and accuracy on the device.

    Logs train/loss, train/acc, val/loss and val/acc once an epoch, as means over
    all images; train/acc is what the network scored while it was being trained,
    with augmentation and dropout active. Training takes several batches at a time,
    as what Lightning does around each would otherwise take a tenth of the time.

    Args:
        network: normalised float [N, C, H, W] -> logits [N, K].
        optimizer: from parameters to an optimizer.
        scheduler: from an optimizer to a schedule that steps once an epoch, or with
            each batch, see `moves_with_each_batch`.
        batches: of the whole training, for a schedule of the second kind.
        augmentation: float [N, C, H, W], 0 to 255 -> the same; active in training only.
        mean, std: see Normalize.
        batch_size, compiled: see Learner.
        loss: from outputs [N, K] and labels [N] to the mean loss.
        seed: each epoch's data order, augmentation and dropout follow from the
            seed and the epoch's number alone, so that a resumed run repeats what
            an uninterrupted one does.

    Raises:
        Diverged: the loss of an epoch was not finite.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: Callable[[Iterator[nn.Parameter]], Optimizer],
        scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        augmentation: nn.Module | None = None,
        mean: float = 0.0,
        std: float = 1.0,
        batch_size: int = 1,
        compiled: str | None = None,
        loss: Loss = F.cross_entropy,
        seed: int = 0,
        batches: int = 0,
    ) -> None:
        super().__init__()
        self.network = network
        self.normalize = Normalize(mean, std)
        self.augmentation = augmentation
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.batches, self.batchwise = batches, moves_with_each_batch(scheduler)
        self.automatic_optimization = False
        self.seed = seed
        self.learn = Learner(network, self.normalize, augmentation, batch_size, compiled, loss)
        self.losses: list[Tensor] = []  # of each batch of this epoch
        self.train_tally, self.val_tally = Tally(), Tally()

    def forward(self, images: Tensor) -> Tensor:
        """uint8 [N, C, H, W], or float from 0 to 255 -> logits [N, K]."""
        return self.network(self.normalize(images))

    def configure_optimizers(self):
        optimizer = self.make_optimizer(self.network.parameters())
        if self.make_scheduler is None:
            return optimizer
        schedule = make_schedule(self.make_scheduler, optimizer, self.batches)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_train_epoch_start(self) -> None:
        torch.manual_seed((self.seed << 16) + self.current_epoch)
        self.train_tally.reset()
        self.losses = []

    def training_step(self, batches: list[Batch], _: int) -> None:
        counted = self.optimizers()
        for batch in batches[:-1]:
            self._step(batch, counted.optimizer)
        self._step(batches[-1], counted)  # Lightning sees one step of these: seeing takes time

    def _step(self, batch: Batch, optimizer: Optimizer | LightningOptimizer) -> None:
        loss, correct = self.learn(*batch)
        self.train_tally.add(loss, correct, len(batch[1]))
        self.losses.append(loss.detach().clone())  # a CUDA graph writes over the loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if self.batchwise:
            self.lr_schedulers().step()

    def on_train_epoch_end(self) -> None:
        schedule = self.lr_schedulers()
        if schedule and not self.batchwise:
            schedule.step()

    def on_validation_epoch_start(self) -> None:
        loss = self.train_tally.sums[0]
        if not torch.isfinite(loss):
            raise Diverged(f"the training loss became {loss:.3g} in epoch {self.current_epoch + 1}")
        self.val_tally.reset()

    def validation_step(self, batch: Batch, _: int) -> None:
        images, labels = batch
        self.val_tally.add(*self.learn.evaluate(images, labels), len(labels))

    def on_validation_epoch_end(self) -> None:
        # validation ends a training epoch, so both figures of that epoch are whole
        for stage, tally in (("train", self.train_tally), ("val", self.val_tally)):
            if tally.images:
                loss, accuracy = tally.means()
                self.log_dict({f"{stage}/loss": loss, f"{stage}/acc": accuracy})

    def progress(self, stage: str = "train") -> list[float]:
        """Mean loss and accuracy so far in this epoch; waits for the device."""
        return (self.train_tally if stage == "train" else self.val_tally).means().tolist()


class Tally(nn.Module):
    """Sums loss and correct answers where they arise, so that no batch waits for the host."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("sums", torch.zeros(2), persistent=False)
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
        """[2]: mean loss, and accuracy from 0 to 1, over the images since the reset."""
        return self.sums / self.images
