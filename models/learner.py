"""The arithmetic of a training step, from bytes to the loss, compiled where that pays."""

import logging

import torch
from torch import Tensor, nn
from torch.nn import functional as F

log = logging.getLogger(__name__)


class Normalize(nn.Module):
    """uint8 images, or float images from 0 to 255, to zero mean and unit deviation.

    Args:
        mean, std: of the pixels once they are scaled to 0..1.

    Shapes:
        [N, C, H, W] -> float [N, C, H, W].
    """

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        if not std > 0:
            raise ValueError(f"std must be above 0, not {std}")
        self.mean, self.std = mean, std

    def forward(self, images: Tensor) -> Tensor:
        return (images / 255 - self.mean) / self.std


class Learner:
    """Augments, normalises and classifies a batch, and scores it.

    Not a module: it has no weights of its own, and is no part of a checkpoint.

    Args:
        network: normalised float [N, C, H, W] -> logits [N, K].
        normalize: float [N, C, H, W], 0 to 255 -> the same, normalised.
        augmentation: float [N, C, H, W], 0 to 255 -> the same; None: none.
        compiled: the batch size for which torch.compile makes a program; None: no
            batch. Others, such as a smaller last one, are not worth one of their own.

    Shapes:
        uint8 [N, C, H, W], int64 [N] -> mean loss [], number of correct answers [].

    Attributes:
        problem: why there is no program, although there should be one; else None.
            Without a C++ compiler the same arithmetic runs uncompiled.
    """

    def __init__(
        self,
        network: nn.Module,
        normalize: nn.Module,
        augmentation: nn.Module | None = None,
        compiled: int | None = None,
    ) -> None:
        self.compiled, self.problem = compiled, None

        def learn(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            if augmentation is not None:
                images = augmentation(images.float())
            return score(network(normalize(images)), labels)

        self.eager = learn
        # on a GPU the launches of so many small kernels cost more than their work: a CUDA graph
        mode = "reduce-overhead" if torch.cuda.is_available() else None
        self.program = torch.compile(learn, dynamic=False, mode=mode) if compiled else learn

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if len(labels) != self.compiled:
            return self.eager(images, labels)
        from torch._dynamo.exc import BackendCompilerFailed  # there since the program is

        try:
            return self.program(images, labels)
        except BackendCompilerFailed as error:
            self.compiled, self.problem = None, str(error).splitlines()[0]
            log.warning("training is not compiled: %s", self.problem)
            return self.eager(images, labels)


def score(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """[N, K], [N] -> mean cross entropy, and how many of the highest logits are right."""
    return F.cross_entropy(logits, labels), (logits.argmax(1) == labels).sum()
