"""The computation of a training step, from bytes to the loss, on the fastest backend."""

import logging
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.native.kernels import NoKernels
from models.native.network import NativeNetwork

Scores = tuple[Tensor, Tensor]  # mean loss, number of correct answers

Program = Callable[[Tensor, Tensor], Scores]

Loss = Callable[[Tensor, Tensor], Tensor]

log = logging.getLogger(__name__)


def score(outputs: Tensor, labels: Tensor, loss: Loss = F.cross_entropy) -> Scores:
    """[N, K], [N] -> mean loss [], number of correct answers []."""
    return loss(outputs, labels), (outputs.argmax(1) == labels).sum()


class Learner:
    """Augments, normalises and classifies a batch, and scores the outputs.

    Not a module: it has no weights of its own, and is no part of a checkpoint.

    Args:
        network: normalised float [N, C, H, W] -> outputs [N, K]; or a NetworkStack, whose
            images, labels, outputs and scores have one more dimension in front.
        normalize: float [N, C, H, W], 0 to 255 -> the same, normalised.
        augmentation: float [N, C, H, W], 0 to 255 -> the same; None: none.
        batch_size: of training; batches of another size, such as a smaller last one, run eagerly.
        compiled: "native": on a CPU, our own kernels where they can run the network;
            "all": these, or else torch.compile; None: plain PyTorch.
        loss: outputs [N, K], labels [N] -> mean loss [].
        score: outputs, labels and a loss -> mean loss, number of correct answers.

    Shapes:
        uint8 [N, C, H, W], int64 [N] -> mean loss [], number of correct answers [].

    Attributes:
        backend: "native", "torch.compile" or "eager"; where a compiler failed, "eager, as"
            and the reason. Known from the first batch on.
    """

    def __init__(
        self,
        network: nn.Module,
        normalize: nn.Module,
        augmentation: nn.Module | None = None,
        batch_size: int = 1,
        compiled: str | None = None,
        loss: Loss = F.cross_entropy,
        score: Callable[[Tensor, Tensor, Loss], Scores] = score,
    ) -> None:
        self.network, self.normalize, self.augmentation = network, normalize, augmentation
        self.batch_size, self.compiled, self.loss, self.score = batch_size, compiled, loss, score
        self.backend = "eager"
        self.native: NativeNetwork | None = None
        self.program: Program | None = None
        self.plain: Program = partial(self._learn, network)

    def __call__(self, images: Tensor, labels: Tensor) -> Scores:
        """The forward pass of a training step."""
        if self.compiled is None or labels.shape[-1] != self.batch_size:
            return self.plain(images, labels)
        if self.program is None:
            self.program = self._compile(images)
        try:
            return self.program(images, labels)
        except Exception as error:
            if self.backend != "torch.compile":
                raise
            scores = self.plain(images, labels)  # raises if the compiler was not at fault
            self.program = self._fall_back(error)
            return scores

    def evaluate(self, images: Tensor, labels: Tensor) -> Scores:
        return self.score(self.outputs(images), labels, self.loss)

    def outputs(self, images: Tensor) -> Tensor:
        """uint8 [N, C, H, W] -> outputs [N, K], by our kernels where training uses them."""
        return (self.native or self.network)(self.normalize(images))

    def _learn(self, network: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> Scores:
        if self.augmentation is not None:  # the images of several networks as one batch
            augmented = self.augmentation(images.flatten(0, -4).float())
            images = augmented.unflatten(0, labels.shape)
        return self.score(network(self.normalize(images)), labels, self.loss)

    def _compile(self, images: Tensor) -> Program:
        """The fastest program for batches such as `images`."""
        if images.device.type == "cpu":
            try:
                self.native = NativeNetwork(self.network, self.batch_size, images.shape[1:])
                self.backend = "native"
                return partial(self._learn, self.native)
            except NoKernels as error:
                return self._fall_back(error)
            except ValueError:  # our kernels cannot run this network
                pass
        if self.compiled != "all":
            return self.plain
        self.backend = "torch.compile"
        # on a GPU the launches of many small kernels take longer than their work: a CUDA graph
        mode = "reduce-overhead" if images.device.type == "cuda" else None
        return torch.compile(self.plain, dynamic=False, mode=mode)

    def _fall_back(self, error: Exception) -> Program:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        self.backend = f"eager, as {reason}"
        log.warning("training is slower than it could be: %s", self.backend)
        return self.plain
