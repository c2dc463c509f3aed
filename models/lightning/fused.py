"""The Lightning module that trains many networks of one architecture at once."""

from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from models.lightning.classifier import Classifier, means
from models.lightning.learner import Loss
from models.networks.stack import NetworkStack

METRICS = ("train/loss", "train/acc", "val/loss", "val/acc")


class FusedClassifier(Classifier):
    """Trains K networks, each as Classifier would train it alone, and on its own batches.

    A network that diverges does not disturb the others.

    Args:
        networks: see NetworkStack.
        optimizers: of each network, from parameters to an optimizer; they may differ in
            their keywords only.
        loss, options: see Classifier; the same for all networks.

    Attributes:
        metrics: of the last epoch, by name, one number per network: see METRICS.
        best: the weights of each network's best epoch by val/acc, stacked, by name.
        group_of: for each network, the index of its parameter group in the optimizer.
    """

    def __init__(
        self,
        networks: list[nn.Module],
        optimizers: list[partial[Optimizer]],
        loss: Loss = F.cross_entropy,
        **options: Any,
    ) -> None:
        # neighbours with the same optimizer share a parameter group
        alike = groupby(optimizers, key=lambda make: sorted(make.keywords.items()))
        groups = [list(group) for _, group in alike]
        stack = NetworkStack(networks, [len(group) for group in groups])
        super().__init__(stack, optimizers[0], loss=partial(loss_each, loss), **options)
        self.keywords_of_group = [group[0].keywords for group in groups]
        self.group_of = [i for i, group in enumerate(groups) for _ in group]
        self.metrics: dict[str, list[float]] = {}
        self.best: dict[str, Tensor] = {}

    def parameter_groups(self) -> list[dict[str, Any]]:
        groups = zip(self.network.groups, self.keywords_of_group, strict=True)
        return [{"params": list(parameters), **keywords} for parameters, keywords in groups]

    def on_train_epoch_end(self) -> None:
        self.end_epoch()

    def on_validation_epoch_end(self) -> None:
        if self.trainer.sanity_checking:  # before the first epoch
            return
        metrics = torch.cat((means(self.train_scores), means(self.val_scores)))
        self.metrics = dict(zip(METRICS, metrics.tolist(), strict=True))
        stacked = {name: tensor.detach() for name, tensor in self.network.stacked().items()}
        stacked["val/acc"] = metrics[3]
        best = self.best or stacked
        better = stacked["val/acc"] > best["val/acc"]
        self.best = {
            name: torch.where(better.view(-1, *[1] * (tensor.ndim - 1)), tensor, best[name])
            for name, tensor in stacked.items()
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["best"] = self.best

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.best = {name: tensor.to(self.device) for name, tensor in checkpoint["best"].items()}


def loss_each(loss: Loss, outputs: Tensor, labels: Tensor) -> Tensor:
    """[K, N, classes], [K, N] or [N] -> mean loss of each network [K]."""
    labels = labels.expand(outputs.shape[:2])
    if loss is not F.cross_entropy:
        return torch.stack([loss(*pair) for pair in zip(outputs, labels, strict=True)])
    losses = F.cross_entropy(outputs.flatten(0, 1), labels.flatten(), reduction="none")
    return losses.view(labels.shape).mean(1)
