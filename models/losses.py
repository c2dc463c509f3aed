"""Losses, and how the outputs of a network trained with each become probabilities."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from models.checks import checked


class CrossEntropy(nn.CrossEntropyLoss):
    """Cross entropy of logits; see torch.nn.CrossEntropyLoss for its options."""

    @staticmethod
    def probabilities(outputs: Tensor) -> Tensor:
        """[N, K] -> the same, 0 to 1, rows of sum 1."""
        return outputs.softmax(1)


class Distillation(nn.Module):
    """Cross entropy, and in training how far a network is from a wider teacher's probabilities.

    Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015.

    Args:
        teacher: the id of its run; `network`, set before training, is its network: images
            [N, C, H, W] -> probabilities [N, K].
        weight: of the teacher's part in the loss, beside 1 - weight of the cross entropy.
        temperature: by which both logits are divided, so that small probabilities count too.
    """

    @checked
    def __init__(
        self,
        teacher: str,
        weight: Annotated[float, Field(gt=0, le=1)] = 0.5,
        temperature: Annotated[float, Field(gt=0)] = 4.0,
    ) -> None:
        super().__init__()
        self.teacher, self.weight, self.temperature = teacher, weight, temperature
        self.network: nn.Module | None = None

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(outputs, labels)

    def taught(self, images: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """The loss of a batch of these images, outputs [N, K] and labels [N] -> []."""
        with torch.no_grad():
            softened = (self.network(images).log() / self.temperature).softmax(1)
        return partial(self._from_both, softened)

    def _from_both(self, softened: Tensor, outputs: Tensor, labels: Tensor) -> Tensor:
        own = (outputs / self.temperature).log_softmax(1)
        distance = F.kl_div(own, softened, reduction="batchmean") * self.temperature**2
        return torch.lerp(self(outputs, labels), distance, self.weight)


class SquaredError(nn.Module):
    """[N, K], int64 [N] -> [], the mean squared difference between outputs and one-hot targets.

    `gradient`: "mean": that of this mean; "sum": that of the sum over all outputs of a batch. Then
    a batch moves the weights as far as its images would one by one: at a small learning rate all
    batch sizes follow one path.
    """

    @checked
    def __init__(self, gradient: Literal["mean", "sum"] = "mean") -> None:
        super().__init__()
        self.gradient = gradient

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        squares = (outputs - F.one_hot(labels, outputs.shape[1])) ** 2
        if self.gradient == "mean":
            return squares.mean()
        total = squares.sum()
        return squares.detach().mean() + (total - total.detach())

    @staticmethod
    def probabilities(outputs: Tensor) -> Tensor:
        """[N, K] -> the same, 0 to 1, rows of sum 1: the squared error is lowest where each
        output is the probability of its class (Richard and Lippmann, Neural Computation 1991)."""
        outputs = outputs.clamp(min=torch.finfo(outputs.dtype).tiny)
        return outputs / outputs.sum(1, keepdim=True)
