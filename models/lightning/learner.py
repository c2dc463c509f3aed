"""The computation of a training step, from bytes to the loss, on the fastest backend."""

import ctypes
import gc
import linecache
import logging
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

try:
    from torch.compiler._cache import CacheArtifactManager
except ImportError:  # it is private; without it, only memory grows
    CacheArtifactManager = None

from models.losses import Distillation
from models.native.kernels import NoKernels
from models.native.network import NativeNetwork

Scores = tuple[Tensor, Tensor]  # mean loss, number of correct answers
Program = Callable[[Tensor, Tensor], Scores]  # of images and labels
Loss = Callable[[Tensor, Tensor], Tensor]

# what torch.compile makes, the fastest first: on a GPU the launches of many small kernels take
# longer than their work
PLAIN = {"torch.compile": None}
GRAPHS = {"CUDA graphs": {"triton.cudagraphs": True, "triton.cudagraph_or_error": True}}
COMPILED = {"cpu": PLAIN, "cuda": GRAPHS | PLAIN}

log = logging.getLogger(__name__)


def score(outputs: Tensor, labels: Tensor, loss: Loss = F.cross_entropy) -> Scores:
    """[(K,) N, classes], [(K,) N] -> mean loss, number of correct answers: [] or [K]."""
    return loss(outputs, labels), (outputs.argmax(-1) == labels).sum(-1)


class Learner:
    """Augments, normalises and classifies a batch, and scores the outputs.

    uint8 [N, C, H, W], int64 [N] -> mean loss [], number of correct answers []. It is no module:
    it has no weights of its own, and is no part of a checkpoint.

    Args:
        network: normalised float [N, C, H, W] -> outputs [N, K]; or a NetworkStack, whose
            images, labels, outputs and scores have one more dimension in front.
        normalize, augmentation: float [N, C, H, W], 0 to 255 -> the same.
        batch_size: of training; batches of another size, such as a smaller last one, run eagerly.
        kernels: whether to use our own kernels, on a CPU, for the networks that they can run.
        compiles: whether to use torch.compile, for what our kernels do not run.
        loss: outputs [N, K], labels [N] -> mean loss [].

    Attributes:
        batches: of this epoch, counted by what trained them: see `backend`.
    """

    def __init__(
        self,
        network: nn.Module,
        normalize: nn.Module,
        augmentation: nn.Module | None = None,
        batch_size: int = 1,
        kernels: bool = False,
        compiles: bool = False,
        loss: Loss = F.cross_entropy,
    ) -> None:
        self.network, self.normalize, self.augmentation = network, normalize, augmentation
        self.batch_size, self.loss = batch_size, loss
        self.kernels, self.compiles = kernels, compiles
        self.batches: Counter[str] = Counter()
        self.native: NativeNetwork | None = None
        self.plain: Program = partial(self._learn, network)
        self.name, self.program = "eager", None  # until a whole batch comes

    @property
    def backend(self) -> str:
        """What trained most batches of this epoch: "native" (our kernels), "CUDA graphs" (of what
        torch.compile made), "torch.compile" or "eager"; with ", as" and the reason where a faster
        one failed."""
        return max(self.batches, key=self.batches.get, default=self.name)

    def __call__(self, images: Tensor, labels: Tensor) -> Scores:
        """The forward pass of a training step."""
        name, program = "eager", self.plain
        if labels.shape[-1] == self.batch_size:
            if self.program is None:
                self.name, self.program = self._fastest(images, labels)
            name, program = self.name, self.program
        self.batches[name] += 1
        return program(images, labels)

    def evaluate(self, images: Tensor, labels: Tensor) -> Scores:
        return score(self.outputs(images), labels, self.loss)

    def outputs(self, images: Tensor) -> Tensor:
        """uint8 [N, C, H, W] -> outputs [N, K], by our kernels where training uses them."""
        return (self.native or self.network)(self.normalize(images))

    def _learn(self, network: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> Scores:
        if self.augmentation is not None:  # the images of several networks as one batch
            augmented = self.augmentation(images.flatten(0, -4).float())
            images = augmented.unflatten(0, labels.shape)
        loss = self.loss.taught(images) if isinstance(self.loss, Distillation) else self.loss
        return score(network(self.normalize(images)), labels, loss)

    def _fastest(self, images: Tensor, labels: Tensor) -> tuple[str, Program]:
        """Name and program of what is fastest for batches such as these."""
        errors: list[Exception] = []
        if self.kernels and images.device.type == "cpu":
            try:
                self.native = NativeNetwork(self.network, self.batch_size, images.shape[1:])
                return "native", partial(self._learn, self.native)
            except NoKernels as error:
                errors.append(error)
            except ValueError:  # our kernels cannot run this network
                pass
        ways = COMPILED.get(images.device.type, {}) if self.compiles else {}
        for name, options in ways.items():
            # Dynamo keeps 8 programs of a function, those of runs before included, and then runs
            # it eagerly; `fullgraph` makes an error of that and of all else that is not compiled
            torch.compiler.reset()
            release_memory()
            program = torch.compile(self.plain, dynamic=False, fullgraph=True, options=options)
            try:
                self._try(program, images, labels)
            except Exception as error:
                self._try(self.plain, images, labels)  # raises if the compiler was not at fault
                errors.append(getattr(error, "inner_exception", error))  # the original error
            else:
                return with_reasons(name, errors), program
        return with_reasons("eager", errors), self.plain

    def _try(self, program: Program, images: Tensor, labels: Tensor) -> None:
        """Run both passes of a step as often as it takes to record a CUDA graph and to replay it;
        nothing is left of it in the weights, the buffers and the random numbers."""
        weights = [weight for weight in self.network.parameters() if weight.requires_grad]
        before = {buffer: buffer.clone() for buffer in self.network.buffers()}
        try:
            with torch.random.fork_rng([images.device] if images.is_cuda else []):
                for _ in range(3):
                    scores = program(images, labels)  # both of them are held, as in a step
                    torch.autograd.grad(scores[0].sum(), weights, allow_unused=True)
        finally:
            for buffer, value in before.items():
                buffer.copy_(value)


def release_memory() -> None:
    """Release what PyTorch's compiler leaves of a program: else 29 MB for each architecture."""
    if CacheArtifactManager:
        CacheArtifactManager.clear()  # copies of what is on the disk, with no public way out: 9 MB
    linecache.clearcache()  # the lines of generated programs
    gc.collect()  # objects that refer to each other, which Python rarely collects: 9 MB
    with suppress(AttributeError, TypeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)  # memory that is free, but kept by the C library: 7 MB


def with_reasons(name: str, errors: list[Exception]) -> str:
    """The name of a program with the reasons why it is not a faster one, which are logged."""
    if errors:
        lines = [(str(error).strip() or type(error).__name__).splitlines()[0] for error in errors]
        name = f"{name}, as {'; '.join(dict.fromkeys(lines))}"
        log.warning("training is slower than it could be: %s", name)
    return name
