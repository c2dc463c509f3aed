"""The arithmetic of a training step, from bytes to the loss, compiled where that pays."""

import logging
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.native import NativeNetwork, NoCompiler

Network = Callable[[Tensor], Tensor]
Program = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
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
        batch_size: of training; another, such as that of a smaller last batch, is not
            worth a program of its own.
        compiled: "native": on a CPU, our own kernels where the network is made for
            them; "all": those, or what torch.compile makes; None: plain PyTorch.

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
    ) -> None:
        self.network, self.normalize, self.augmentation = network, normalize, augmentation
        self.batch_size, self.compiled = batch_size, compiled
        self.way, self.program, self.native = "eager", None, None

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """A step of training, but for the way back."""
        if len(labels) != self.batch_size or self.compiled is None:
            return self._learn(self.network, images, labels)
        if self.program is None:
            self.program = self._compile(images)
        try:
            return self.program(images, labels)
        except torch._dynamo.exc.BackendCompilerFailed as error:
            return self._give_up(error)(images, labels)

    def evaluate(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        network = self.native or self.network
        return score(network(self.normalize(images)), labels)

    def _learn(self, network: Network, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if self.augmentation is not None:
            images = self.augmentation(images.float())
        return score(network(self.normalize(images)), labels)

    def _compile(self, images: Tensor) -> Program:
        """The fastest program that there is for such images."""
        if images.device.type == "cpu":
            try:
                self.native = NativeNetwork(self.network, self.batch_size, images.shape[1:])
            except NoCompiler as error:
                return self._give_up(error)
            except ValueError:
                pass
            else:
                self.way = "native"
                return partial(self._learn, self.native)
        if self.compiled != "all":
            return partial(self._learn, self.network)
        self.way = "torch.compile"
        # on a GPU the launches of many small kernels take longer than their work: a CUDA graph
        mode = "reduce-overhead" if images.device.type == "cuda" else None
        return torch.compile(partial(self._learn, self.network), dynamic=False, mode=mode)

    def _give_up(self, error: Exception) -> Program:
        self.way = f"eager, as {str(error).splitlines()[0]}"
        log.warning("training is slower than it could be: %s", self.way)
        self.program = partial(self._learn, self.network)
        return self.program


def score(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """[N, K], [N] -> mean cross entropy, and how many of the highest logits are right."""
    return F.cross_entropy(logits, labels), (logits.argmax(1) == labels).sum()
