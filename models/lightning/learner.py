"""The arithmetic of a training step, from bytes to the loss, compiled where that pays."""

import logging
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.native.kernels import NoKernels
from models.native.network import NativeNetwork

Network = Callable[[Tensor], Tensor]

Program = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

Loss = Callable[[Tensor, Tensor], Tensor]

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


class Compiled:
    """What torch.compile makes of a program, or the program itself where it fails.

    Args:
        program: takes and returns tensors, always of the same shapes.
        device: that they are on.

    Attributes:
        way: "torch.compile", or "eager" and why.
    """

    def __init__(self, program: Program, device: torch.device) -> None:
        # on a GPU the launches of many small kernels take longer than their work: a CUDA graph
        mode = "reduce-overhead" if device.type == "cuda" else None
        self.program, self.way = program, "torch.compile"
        self.fastest = torch.compile(program, dynamic=False, mode=mode)

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        try:
            return self.fastest(*tensors)
        except torch._dynamo.exc.BackendCompilerFailed as error:
            self.fastest, self.way = self.program, eager(error)
            return self.program(*tensors)


def eager(error: Exception) -> str:
    """The way that is left after an error, in words, and in the log."""
    way = f"eager, as {str(error).splitlines()[0]}"
    log.warning("training is slower than it could be: %s", way)
    return way


class Learner:
    """Augments, normalises and classifies a batch, and scores it.

    Not a module: it has no weights of its own, and is no part of a checkpoint.

    Args:
        network: normalised float [N, C, H, W] -> logits [N, K].
        normalize: float [N, C, H, W], 0 to 255 -> the same, normalised.
        augmentation: float [N, C, H, W], 0 to 255 -> the same; None: none.
        batch_size: of training; another, such as that of a smaller last batch, is not
            worth a program of its own.
        compiled: "native": on a CPU, our own kernels where the network is made for
            them; "all": those, or what torch.compile makes; None: plain PyTorch.
        loss: outputs [N, K], labels [N] -> mean loss [].

    Shapes:
        uint8 [N, C, H, W], int64 [N] -> mean loss [], number of correct answers [].

    Attributes:
        way: "native", "torch.compile" or "eager", whichever it has come to; where a
            compiler is missing, with the reason.
    """

    def __init__(
        self,
        network: nn.Module,
        normalize: nn.Module,
        augmentation: nn.Module | None = None,
        batch_size: int = 1,
        compiled: str | None = None,
        loss: Loss = F.cross_entropy,
    ) -> None:
        self.network, self.normalize, self.augmentation = network, normalize, augmentation
        self.loss = loss
        self.batch_size, self.compiled = batch_size, compiled
        self.slow_way, self.native = "eager", None
        self.program: Program | None = None

    @property
    def way(self) -> str:
        if self.native is not None:
            return "native"
        return self.program.way if isinstance(self.program, Compiled) else self.slow_way

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """A step of training, but for the way back."""
        if len(labels) != self.batch_size or self.compiled is None:
            return self._learn(self.network, images, labels)
        if self.program is None:
            self.program = self._compile(images)
        return self.program(images, labels)

    def evaluate(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return score(self.outputs(images), labels, self.loss)

    def outputs(self, images: Tensor) -> Tensor:
        """uint8 [N, C, H, W] -> outputs [N, K], by the fastest way that has been found so far."""
        network = self.native or self.network
        return network(self.normalize(images))

    def _learn(self, network: Network, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if self.augmentation is not None:
            images = self.augmentation(images.float())
        return score(network(self.normalize(images)), labels, self.loss)

    def _compile(self, images: Tensor) -> Program:
        """The fastest program that there is for such images."""
        plain = partial(self._learn, self.network)
        if images.device.type == "cpu":
            try:
                self.native = NativeNetwork(self.network, self.batch_size, images.shape[1:])
                return partial(self._learn, self.native)
            except NoKernels as error:
                self.slow_way = eager(error)
                return plain
            except ValueError:  # not a network for them
                pass
        return Compiled(plain, images.device) if self.compiled == "all" else plain


def score(logits: Tensor, labels: Tensor, loss: Loss = F.cross_entropy) -> tuple[Tensor, Tensor]:
    """[N, K], [N] -> mean loss, and how many of the highest logits are right."""
    return loss(logits, labels), (logits.argmax(1) == labels).sum()
