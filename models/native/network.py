"""Plain convolutional networks trained on a CPU by kernels of our own, see kernels.cpp.

With ten channels, libraries leave most lanes of a vector idle, and pass over the same memory
many times. Here a convolution, its ReLU, BatchNorm, Dropout2d and max pool are one step.
"""

import ctypes
import math

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from models.native.kernels import LANES, WIDEST, Arguments, Plane, library, pointer


class NativeNetwork:
    """What a network computes, by our kernels; it shares the network's parameters and buffers.

    Memory is made once, and used again by each batch: the way back has to come before
    the next batch.

    Args:
        network: convolutions of 3x3 with what follows them, and then anything else.
        batch_size: of training, a multiple of 16.
        image: channels, height and width.

    Shapes:
        float [N, C, H, W] -> what the network returns. In training N is the batch
        size, in evaluation any number.

    Raises:
        NoKernels: see `library`.
        ValueError: the network does not begin with such convolutions, or the batch
            size or the parameters are none for them.
    """

    def __init__(self, network: nn.Module, batch_size: int, image: tuple[int, int, int]) -> None:
        if batch_size % LANES or not isinstance(network, nn.Sequential):
            raise ValueError("only a sequence of layers, in batches of a multiple of 16")
        self.network, self.batch_size = network, batch_size
        layers, found = list(network), []
        while (some := take_step(layers)) is not None:
            found.append(some)
        if not found:
            raise ValueError("the network does not begin with a convolution of 3x3")
        if any(p.dtype != torch.float32 for p in network.parameters()):
            raise ValueError("the parameters are not of 32 bits")
        self.rest = nn.Sequential(*layers)
        paddings = [some[0].padding[0] for some in found] + [0]
        blocks = batch_size // LANES
        channels, height, width = image
        output = self.input = bordered(blocks, channels, height, width, paddings[0])
        self.steps = []
        for some, padding in zip(found, paddings[1:], strict=True):
            self.steps.append(Step(*some, output, padding))
            output = self.steps[-1].output
        self.parameters = [p for step in self.steps for p in step.parameters if p is not None]
        self.places = [p.data_ptr() for p in self.parameters]
        self.library = library()

    def __call__(self, images: Tensor) -> Tensor:
        if self.network.training:
            return self._rest(_Steps.apply(images, self, *self.parameters))
        return torch.cat([self._evaluate(batch) for batch in images.split(self.batch_size)])

    def _evaluate(self, images: Tensor) -> Tensor:
        missing = self.batch_size - len(images)
        if missing:
            images = torch.cat((images, images.new_zeros(missing, *images.shape[1:])))
        return self._rest(self.forward(images))[: self.batch_size - missing]

    def _rest(self, x: Tensor) -> Tensor:
        return self.rest(x.permute(0, 4, 1, 2, 3).flatten(0, 1))

    def forward(self, images: Tensor) -> Tensor:
        """[N, C, H, W] -> [blocks, channels, height, width, 16] of the last step."""
        if [p.data_ptr() for p in self.parameters] != self.places:
            raise RuntimeError("the network's parameters were moved in memory")
        lanes = images.unflatten(0, (-1, LANES)).permute(0, 2, 3, 4, 1)
        inner(self.input, self.steps[0].padding).copy_(lanes)
        training = self.network.training
        for step in self.steps:
            step.forward(self.library, training)
        return self.steps[-1].output.detach()

    def backward(self, grad: Tensor) -> list[Tensor]:
        """Gradients of the parameters, from that of what `forward` returned."""
        gradients: list[Tensor] = []
        for step in reversed(self.steps):
            gradients = step.backward(self.library, grad, step is not self.steps[0]) + gradients
            grad = step.input_gradient
        return gradients


class _Steps(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images: Tensor, native: NativeNetwork, *_: Tensor) -> Tensor:
        ctx.native = native
        return native.forward(images)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, *ctx.native.backward(grad.contiguous())


def take_step(layers: list[nn.Module]) -> tuple[nn.Module | None, ...] | None:
    """Take the layers of a step from the front of a list; None, and nothing, if there is none.

    A step is a convolution of 3x3, or one with ReLU and then, of each none or one,
    BatchNorm, Dropout2d, and a max pool of 2x2.
    """
    kinds = (nn.Conv2d, nn.ReLU, nn.BatchNorm2d, nn.Dropout2d, nn.MaxPool2d)
    found: list[nn.Module | None] = []
    position = 0
    for kind in kinds:
        here = position < len(layers) and type(layers[position]) is kind
        found.append(layers[position] if here else None)
        position += here
    conv, relu, norm, _, pool = found
    fits = (
        conv is not None
        and conv.kernel_size == (3, 3)
        and conv.stride == conv.dilation == (1, 1)
        and conv.padding in ((0, 0), (1, 1))
        and conv.padding_mode == "zeros"
        and conv.groups == 1
        and (relu is not None or position == 1)
        and (norm is None or (norm.affine and norm.track_running_stats and norm.momentum))
        and (pool is None or (pool.kernel_size, pool.stride, pool.padding) == (2, 2, 0))
    )
    if not fits:
        return None
    del layers[:position]
    return tuple(found)


class Step:
    """A convolution with what follows it, and the memory that it works in.

    Args:
        conv, relu, norm, dropout, pool: see `take_step`.
        x: what it reads, with the border that it needs.
        border: of its output, as the next step needs it.

    Raises:
        ValueError: the max pool would leave out a row or a column.
    """

    def __init__(self, conv, relu, norm, dropout, pool, x: Tensor, border: int) -> None:
        blocks, _, height, width, _ = x.shape
        rows, columns, channels = height - 2, width - 2, conv.out_channels
        if pool and (rows % 2 or columns % 2):
            raise ValueError("a max pool leaves out a row or a column")
        self.norm, self.dropout = norm, dropout.p if dropout else 0.0
        self.padding = conv.padding[0]
        self.parameters = (conv.weight, conv.bias, norm and norm.weight, norm and norm.bias)
        groups, size = grouped(channels)
        back_groups, back_size = grouped(conv.in_channels)
        self.activation = bordered(blocks, groups * size, rows, columns, 0)
        visible = self.output = self.activation[:, :channels]
        if relu:
            half = 2 if pool else 1
            self.output = bordered(blocks, channels, rows // half, columns // half, border)
            visible = inner(self.output, border)
        self.gradient = bordered(blocks, groups * size, rows, columns, 2 - self.padding)
        whole = torch.zeros(blocks, back_groups * back_size, height, width, LANES)
        self.input_gradient = inner(whole[:, : conv.in_channels], self.padding)
        self.drop = torch.ones(blocks, channels, LANES)
        self.kept = (
            self.drop,
            torch.ones_like(self.drop),
            torch.zeros_like(self.drop),
            torch.zeros(channels),
            torch.ones(channels),
            torch.zeros(space(blocks, conv.in_channels, channels)),
        )
        self.arguments = Arguments(
            *(blocks, conv.in_channels, channels, rows, columns),
            *(groups, size, back_groups, back_size),
            *(relu is not None, norm is not None, pool is not None, 2 - self.padding),
            *((norm.eps, norm.momentum) if norm else (0, 0)),
            *map(Plane.of, (x, self.activation, visible, self.gradient, self.input_gradient)),
            *map(pointer, self.parameters),
            *map(pointer, (norm.running_mean, norm.running_var) if norm else (None, None)),
            *map(pointer, self.kept),
        )

    def forward(self, kernels: ctypes.CDLL, training: bool) -> None:
        if training and self.dropout:
            self.drop.bernoulli_(1 - self.dropout).div_(1 - self.dropout)
        if training and self.norm is not None:
            self.norm.num_batches_tracked += 1
        kernels.forward(ctypes.byref(self.arguments), training)

    def backward(self, kernels: ctypes.CDLL, grad: Tensor, needs_input: bool) -> list[Tensor]:
        gradients = [None if p is None else torch.empty_like(p) for p in self.parameters]
        for name, gradient in zip(("weight", "bias", "gain", "offset"), gradients, strict=True):
            setattr(self.arguments, f"{name}_gradient", pointer(gradient))
        kernels.backward(ctypes.byref(self.arguments), Plane.of(grad), needs_input)
        return [gradient for gradient in gradients if gradient is not None]


def bordered(blocks: int, channels: int, height: int, width: int, border: int) -> Tensor:
    """Zeros [blocks, channels, height, width, 16], with a border around height and width."""
    return torch.zeros(blocks, channels, height + 2 * border, width + 2 * border, LANES)


def inner(x: Tensor, border: int) -> Tensor:
    """A tensor without its border."""
    return x[:, :, border : x.shape[2] - border, border : x.shape[3] - border]


def grouped(channels: int) -> tuple[int, int]:
    """Groups, and channels in each: as few and as even as can be, no more than a kernel takes."""
    groups = math.ceil(channels / WIDEST)
    return groups, math.ceil(channels / groups)


def space(blocks: int, in_channels: int, channels: int) -> int:
    """Floats that a step needs for sums over a batch, and for its weights put in order."""
    ins, outs = math.prod(grouped(in_channels)), math.prod(grouped(channels))
    weights = max(outs * (9 * in_channels + 1), ins * (9 * channels + 1))
    return max(weights, blocks * outs * (9 * in_channels + 2))
