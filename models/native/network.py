"""Plain convolutional networks trained on a CPU by our own kernels, see kernels.cpp.

With ten channels, libraries leave most lanes of a vector idle, and pass over the same memory
many times. Here a convolution, its ReLU, BatchNorm, Dropout2d and max pool are one step.
"""

import ctypes
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from models.native.kernels import LANES, WIDEST, Arguments, Plane, library, pointer


class NativeNetwork:
    """Runs a network by our kernels; it shares the network's parameters and buffers.

    Memory is allocated once and reused by each batch: the backward pass of a batch has to come
    before the next batch.

    Args:
        network: a sequence that begins with steps, see StepLayers; the rest can be any layers.
        batch_size: of training, a multiple of 16.
        image: channels, height and width.

    Shapes:
        float [N, C, H, W] -> what the network returns. In training N is the batch
        size, in evaluation any number.

    Raises:
        NoKernels: see `library`.
        ValueError: the kernels do not support the network, the batch size or the parameters.
    """

    def __init__(self, network: nn.Module, batch_size: int, image: tuple[int, int, int]) -> None:
        if not isinstance(network, nn.Sequential):
            raise ValueError("the network is not a sequence of layers")
        if batch_size % LANES:
            raise ValueError(f"the batch size is not a multiple of {LANES}")
        if any(p.dtype != torch.float32 for p in network.parameters()):
            raise ValueError("the parameters are not of 32 bits")
        layers, step_layers = list(network), []
        while (taken := take_step(layers)) is not None:
            step_layers.append(taken)
        if not step_layers:
            raise ValueError("the network does not begin with a convolution of 3x3")
        self.network, self.batch_size = network, batch_size
        self.rest = nn.Sequential(*layers)
        borders = [step.conv.padding[0] for step in step_layers] + [0]
        channels, height, width = image
        x = self.input = bordered(batch_size // LANES, channels, height, width, borders[0])
        self.steps = []
        for step, border in zip(step_layers, borders[1:], strict=True):
            self.steps.append(Step(step, x, border))
            x = self.steps[-1].output
        self.parameters = [p for step in self.steps for p in step.parameters if p is not None]
        self.addresses = [p.data_ptr() for p in self.parameters]
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
        if [p.data_ptr() for p in self.parameters] != self.addresses:
            raise RuntimeError("the network's parameters were moved in memory")
        lanes = images.unflatten(0, (-1, LANES)).permute(0, 2, 3, 4, 1)
        inner(self.input, self.steps[0].padding).copy_(lanes)
        for step in self.steps:
            step.forward(self.library, self.network.training)
        return self.steps[-1].output.detach()

    def backward(self, grad: Tensor) -> list[Tensor]:
        """Gradients of the parameters, from the gradient of what `forward` returned."""
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


class StepLayers(NamedTuple):
    """The layers of a step: a convolution of 3x3 alone, or with ReLU and optional other layers."""

    conv: nn.Conv2d
    relu: nn.ReLU | None
    norm: nn.BatchNorm2d | None
    dropout: nn.Dropout2d | None
    pool: nn.MaxPool2d | None


def take_step(layers: list[nn.Module]) -> StepLayers | None:
    """Remove the layers of a step from the front of a list; None if there is no step."""
    kinds = (nn.Conv2d, nn.ReLU, nn.BatchNorm2d, nn.Dropout2d, nn.MaxPool2d)
    taken: list[nn.Module | None] = []
    count = 0
    for kind in kinds:
        present = count < len(layers) and type(layers[count]) is kind
        taken.append(layers[count] if present else None)
        count += present
    conv, relu, norm, _, pool = taken
    supported = (
        conv is not None
        and conv.kernel_size == (3, 3)
        and conv.stride == conv.dilation == (1, 1)
        and conv.padding in ((0, 0), (1, 1))
        and conv.padding_mode == "zeros"
        and conv.groups == 1
        and (relu is not None or count == 1)
        and (norm is None or (norm.affine and norm.track_running_stats and norm.momentum))
        and (pool is None or (pool.kernel_size, pool.stride, pool.padding) == (2, 2, 0))
    )
    if not supported:
        return None
    del layers[:count]
    return StepLayers(*taken)


class Step:
    """A convolution with the layers that follow it, and the memory that they work in.

    Args:
        layers: of the step.
        x: the input, with the border that the convolution needs.
        border: of the output, as the next step needs it.

    Raises:
        ValueError: the max pool would leave out a row or a column.
    """

    def __init__(self, layers: StepLayers, x: Tensor, border: int) -> None:
        conv, relu, norm, dropout, pool = layers
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
        inner_output = self.output = self.activation[:, :channels]
        if relu:
            stride = 2 if pool else 1
            self.output = bordered(blocks, channels, rows // stride, columns // stride, border)
            inner_output = inner(self.output, border)
        self.gradient = bordered(blocks, groups * size, rows, columns, 2 - self.padding)
        padded_gradient = torch.zeros(blocks, back_groups * back_size, height, width, LANES)
        self.input_gradient = inner(padded_gradient[:, : conv.in_channels], self.padding)
        self.drop = torch.ones(blocks, channels, LANES)
        self.buffers = (  # held here, as the kernels know only addresses
            self.drop,
            torch.ones_like(self.drop),
            torch.zeros_like(self.drop),
            torch.zeros(channels),
            torch.ones(channels),
            torch.zeros(workspace_size(blocks, conv.in_channels, channels)),
        )
        self.arguments = Arguments(
            *(blocks, conv.in_channels, channels, rows, columns),
            *(groups, size, back_groups, back_size),
            *(relu is not None, norm is not None, pool is not None, 2 - self.padding),
            *((norm.eps, norm.momentum) if norm else (0, 0)),
            *map(Plane.of, (x, self.activation, inner_output, self.gradient, self.input_gradient)),
            *map(pointer, self.parameters),
            *map(pointer, (norm.running_mean, norm.running_var) if norm else (None, None)),
            *map(pointer, self.buffers),
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
    """Number of groups and channels in each: few, even groups, each within a kernel's limit."""
    groups = math.ceil(channels / WIDEST)
    return groups, math.ceil(channels / groups)


def workspace_size(blocks: int, in_channels: int, channels: int) -> int:
    """Floats that a step needs for sums over a batch, and for its rearranged weights."""
    ins, outs = math.prod(grouped(in_channels)), math.prod(grouped(channels))
    weights = max(outs * (9 * in_channels + 1), ins * (9 * channels + 1))
    return max(weights, blocks * outs * (9 * in_channels + 2))
