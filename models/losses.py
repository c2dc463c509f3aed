"""What training minimises, and what the outputs of a network so trained mean."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CrossEntropy(nn.CrossEntropyLoss):
    """Cross entropy of logits; see torch.nn.CrossEntropyLoss for its options."""

    @staticmethod
    def probabilities(outputs: Tensor) -> Tensor:
        """[N, K] -> the same, 0 to 1, rows of sum 1."""
        return outputs.softmax(1)


class SquaredError(nn.Module):
    """Squared differences between outputs and one-hot targets.

    Args:
        gradient: "mean": that of the mean over all outputs of a batch; "sum": that of the sum
            over all of them, 2 (output - target) each. Then a batch moves the weights as far as
            its images would one by one, so that at a small learning rate batches of
            all sizes follow the same path.

    Shapes:
        [N, K], int64 [N] -> [], the mean over all outputs, whichever gradient it has.

    Raises:
        ValueError: there is no such gradient.
    """

    def __init__(self, gradient: str = "mean") -> None:
        super().__init__()
        if gradient not in ("mean", "sum"):
            raise ValueError(f"gradient must be mean or sum, not {gradient}")
        self.gradient = gradient

    def forward(self, outputs: Tensor, labels: Tensor) -> Tensor:
        squares = (outputs - F.one_hot(labels, outputs.shape[1])) ** 2
        if self.gradient == "mean":
            return squares.mean()
        total = squares.sum()
        return squares.detach().mean() + (total - total.detach())

    @staticmethod
    def probabilities(outputs: Tensor) -> Tensor:
        """[N, K] -> the same, 0 to 1, rows of sum 1: what minimises the squared error is
        the probability of each class (Richard and Lippmann, Neural Computation 1991)."""
        outputs = outputs.clamp(min=torch.finfo(outputs.dtype).tiny)
        return outputs / outputs.sum(1, keepdim=True)
