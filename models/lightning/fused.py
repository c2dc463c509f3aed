"""Many networks of one architecture, trained at once as one program."""

import copy
from collections.abc import Callable, Iterable
from functools import partial
from itertools import groupby
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from models.lightning.classifier import Batch
from models.lightning.learner import Compiled, Loss, Normalize
from models.schedule import make_schedule, moves_with_each_batch

FIGURES = ("train/loss", "train/acc", "val/loss", "val/acc")


class FusedClassifier(pl.LightningModule):
    """Trains K networks, each as Classifier would train it alone, and on batches of its own.

    Weights of a kind lie in one tensor, so that one kernel serves all networks. One
    that diverges disturbs no other.

    Args:
        networks: of one architecture, but for the p of their dropout; with initial weights.
        optimizers: of each network, from parameters to an optimizer; they may differ in
            their keywords only.
        scheduler, batches, augmentation, mean, std, loss: see Classifier; the same for all.
        batch_size: of training; others run uncompiled.
        compiled: whether torch.compile makes a program of a training step.

    Attributes:
        figures: of the last epoch, by name, one number a network: train/loss,
            train/acc, val/loss, val/acc.
        best: the weights of each network's best epoch by val/acc, stacked, by name.
    """

    def __init__(
        self,
        networks: list[nn.Module],
        optimizers: list[partial[Optimizer]],
        scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        augmentation: nn.Module | None = None,
        mean: float = 0.0,
        std: float = 1.0,
        batch_size: int = 1,
        compiled: bool = False,
        loss: Loss = F.cross_entropy,
        batches: int = 0,
    ) -> None:
        super().__init__()
        networks = [with_tensor_dropout(network) for network in networks]
        weights, state = stack_module_state(networks)
        self.skeleton = [copy.deepcopy(networks[0]).to("meta")]  # in a list: no submodule of ours
        self.weight_names, self.state_names = list(weights), list(state)
        # networks with the same optimizer share a parameter group, and its tensors
        keys = [sorted(make.keywords.items()) for make in optimizers]
        sizes = [len(list(group)) for _, group in groupby(keys)]
        split = [weight.detach().split(sizes) for weight in weights.values()]
        self.arms = nn.ModuleList(
            nn.ParameterList(nn.Parameter(part[i].clone()) for part in split)
            for i in range(len(sizes))
        )
        starts = [sum(sizes[:i]) for i in range(len(sizes))]
        self.arm_optimizers = [optimizers[start] for start in starts]
        self.arm_of = [i for i, size in enumerate(sizes) for _ in range(size)]
        for i, tensor in enumerate(state.values()):
            self.register_buffer(f"state{i}", tensor)
        self.make_scheduler, self.augmentation = scheduler, augmentation
        self.batches, self.batchwise = batches, moves_with_each_batch(scheduler)
        self.normalize = Normalize(mean, std)
        self.automatic_optimization = False
        self.batch_size, self.compiled, self.loss = batch_size, compiled, loss
        self.program: Callable | None = None if compiled else self._learn
        self.register_buffer("sums", torch.zeros(4, len(networks)), persistent=False)
        self.images = [0, 0]  # seen in training and in validation
        self.losses: list[Tensor] = []  # of each batch of this epoch, [K] each
        self.figures: dict[str, list[float]] = {}
        self.best: dict[str, Tensor] = {}

    @property
    def way(self) -> str:
        """ "torch.compile" or "eager", whichever it has come to."""
        return self.program.way if isinstance(self.program, Compiled) else "eager"

    def stacked(self) -> dict[str, Tensor]:
        """Parameters and buffers of all networks, by name: [K, ...]."""
        weights = (torch.cat(list(parts)) for parts in zip(*self.arms, strict=True))
        state = (getattr(self, f"state{i}") for i in range(len(self.state_names)))
        return dict(zip((*self.weight_names, *self.state_names), (*weights, *state), strict=True))

    def forward(self, images: Tensor) -> Tensor:
        """float [K, N, C, H, W], or [N, C, H, W] for all, 0 to 255 -> logits [K, N, classes]."""
        [skeleton] = self.skeleton
        skeleton.train(self.training)
        images, stacked = self.normalize(images), self.stacked()
        each = images.expand(len(self.arm_of), *images.shape[-4:])
        if images.device.type == "cpu":  # whose kernels for grouped convolutions are slow
            states = zip(*(tensor.unbind() for tensor in stacked.values()), strict=True)
            return torch.stack(
                [
                    functional_call(skeleton, dict(zip(stacked, state, strict=True)), (x,))
                    for state, x in zip(states, each, strict=True)
                ]
            )
        run = vmap(lambda state, x: functional_call(skeleton, state, (x,)), randomness="different")
        return run(stacked, each)

    def configure_optimizers(self):
        groups = [
            {"params": list(arm), **make.keywords}
            for arm, make in zip(self.arms, self.arm_optimizers, strict=True)
        ]
        optimizer = self.arm_optimizers[0](groups)
        if self.make_scheduler is None:
            return optimizer
        schedule = make_schedule(self.make_scheduler, optimizer, self.batches)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_train_epoch_start(self) -> None:
        self.trainer.train_dataloader.batches.epoch = self.current_epoch
        self.sums.zero_()
        self.images = [0, 0]
        self.losses = []

    def training_step(self, batches: list[Batch], _: int) -> None:
        counted = self.optimizers()
        if self.program is None:
            self.program = Compiled(self._learn, self.device)
        for batch in batches[:-1]:
            self._step(batch, counted.optimizer)
        self._step(batches[-1], counted)  # see Classifier

    def _step(self, batch: Batch, optimizer: Optimizer | LightningOptimizer) -> None:
        images, labels = batch
        learn = self.program if labels.shape[1] == self.batch_size else self._learn
        losses, correct = learn(images, labels)
        self._count(0, losses, correct, labels.shape[1])
        self.losses.append(losses.detach().clone())
        optimizer.zero_grad()
        losses.sum().backward()  # the networks share no weight: each gets its own gradient
        optimizer.step()
        if self.batchwise:
            self.lr_schedulers().step()

    def validation_step(self, batch: Batch, _: int) -> None:
        images, labels = batch
        self._count(1, *score_each(self(images), labels, self.loss), len(labels))

    def on_train_epoch_end(self) -> None:
        schedule = self.lr_schedulers()
        if schedule and not self.batchwise:
            schedule.step()

    def on_validation_epoch_end(self) -> None:
        means = (
            self.sums / torch.tensor(self.images, device=self.device).repeat_interleave(2)[:, None]
        )
        self.figures = dict(zip(FIGURES, means.tolist(), strict=True))
        accuracy = means[3]
        stacked = {name: tensor.detach() for name, tensor in self.stacked().items()}
        stacked["val/acc"] = accuracy
        if not self.best:
            self.best = {name: tensor.clone() for name, tensor in stacked.items()}
        better = accuracy > self.best["val/acc"]
        for name, tensor in stacked.items():
            chosen = better.view(-1, *[1] * (tensor.ndim - 1))
            self.best[name] = torch.where(chosen, tensor, self.best[name])

    def progress(self, stage: str = "train") -> list[float]:
        """Mean loss and accuracy so far in this epoch, over all networks; waits for the device."""
        at = 0 if stage == "train" else 1
        return (self.sums[2 * at : 2 * at + 2] / self.images[at]).mean(1).tolist()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["best"] = self.best

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.best = {name: tensor.to(self.device) for name, tensor in checkpoint["best"].items()}

    def _learn(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [K, N, C, H, W], int64 [K, N] -> mean losses [K], correct answers [K]."""
        if self.augmentation is not None:
            flat = self.augmentation(images.flatten(0, 1).float())
            images = flat.unflatten(0, labels.shape)
        return score_each(self(images), labels, self.loss)

    @torch.no_grad()
    def _count(self, stage: int, losses: Tensor, correct: Tensor, images: int) -> None:
        self.sums[2 * stage : 2 * stage + 2].add_(torch.stack((losses * images, correct)))
        self.images[stage] += images


def score_each(
    logits: Tensor, labels: Tensor, loss: Loss = F.cross_entropy
) -> tuple[Tensor, Tensor]:
    """[K, N, classes], [K, N] or [N] -> mean loss [K], number of correct answers [K]."""
    labels = labels.expand(logits.shape[:2])
    correct = (logits.argmax(2) == labels).sum(1)
    if loss is not F.cross_entropy:
        return torch.stack([loss(*pair) for pair in zip(logits, labels, strict=True)]), correct
    losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none")
    return losses.view(labels.shape).mean(1), correct


class TensorDropout(nn.Module):
    """Dropout whose p is a tensor, so that it can differ between networks of one program.

    Args:
        p: probability that one is dropped.
        whole: whether whole channels are, as Dropout2d does, or single values.
    """

    def __init__(self, p: float, whole: bool) -> None:
        super().__init__()
        self.register_buffer("p", torch.tensor(p))
        self.whole = whole

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        shape = (*x.shape[:2], 1, 1) if self.whole else x.shape
        kept = torch.rand(shape, device=x.device) >= self.p
        return x * (kept / (1 - self.p))


def with_tensor_dropout(network: nn.Module) -> nn.Module:
    """A copy of a network in which every Dropout and Dropout2d holds its p in a tensor."""
    network = copy.deepcopy(network)
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.Dropout | nn.Dropout2d):
            network.set_submodule(name, TensorDropout(layer.p, isinstance(layer, nn.Dropout2d)))
    return network


def unstacked(stacked: dict[str, Tensor], index: int, names: Iterable[str]) -> dict[str, Tensor]:
    """The state of one network, as its load_state_dict takes it."""
    return {name: stacked[name][index].clone() for name in names}
