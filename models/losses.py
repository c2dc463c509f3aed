"""Losses, and how the outputs of a network trained with each become probabilities."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.checks import checked


class CrossEntropy(nn.CrossEntropyLoss):
    """Cross entropy of logits; see torch.nn.CrossEntropyLoss for its options."""

    @staticmethod
    def probabilities(outputs: Tensor) -> Tensor:
        """[N, K] -> the same, 0 to 1, rows of sum 1."""
        return outputs.softmax(1)


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
