"""Rows of small convolutions trained on a CPU by our own kernels, see kernels.cpp.

With ten channels, libraries leave most lanes of a vector idle, and pass over the same memory
many times. Here a convolution, its ReLU, BatchNorm, Dropout2d and max pool are one step; ReLU and
BatchNorm may change places.
"""

import ctypes
import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from models.native.kernels import LANES, WIDEST, Arguments, Plane, library, pointer

LAYERS = (nn.Conv2d, nn.ReLU, nn.BatchNorm2d, nn.Dropout2d, nn.MaxPool2d)  # of a step
KERNELS = ((3, 3), (0, 0)), ((3, 3), (1, 1)), ((1, 1), (0, 0))  # sizes and paddings


class NativeNetwork:
    """Runs a network by our kernels; it shares the network's parameters and buffers.

    float [N, C, H, W] -> what the network returns. In training N is the batch size, in evaluation
    any number. Memory is allocated once and reused by each batch: the backward pass of a batch has
    to come before the next batch.

    Args:
        network: a sequence that begins with steps, see `take_step`; the rest can be any layers.
        batch_size: of training, a multiple of 16.
        image: channels, height and width.

    Raises:
        NoKernels: see `library`.
        ValueError: the kernels do not support the network, the batch size or the parameters.
    """

    def __init__(self, network: nn.Module, batch_size: int, image: tuple[int, int, int]) -> None:
        if not isinstance(network, nn.Sequential):
            raise ValueError("the network is not a sequence of layers")
        if batch_size % LANES:
            raise ValueError(f"the batch size is not a multiple of {LANES}")
        if any(p.dtype != torch.float32 or not p.is_contiguous() for p in network.parameters()):
            raise ValueError("the parameters are not of 32 bits, or not contiguous")
        layers, step_layers, sides = list(network), [], list(image[1:])
        while taken := take_step(layers):
            shrinks = taken.conv.kernel_size[0] - 1 - 2 * taken.conv.padding[0]
            sides = [side - shrinks for side in sides]
            if taken.pool:
                if any(side % 2 for side in sides):  # which would leave out a row or a column
                    break
                sides = [side // 2 for side in sides]
            step_layers.append(taken)
            layers = layers[taken.count() :]
        if not step_layers:
            raise ValueError("the network does not begin with a step of the kernels")
        library()
        self.network, self.rest, self.batch_size = network, nn.Sequential(*layers), batch_size
        borders = [each.conv.padding[0] for each in step_layers] + [0]
        x = self.input = bordered(batch_size // LANES, *image, borders[0])
        self.steps: list[Step] = []
        for taken, border in zip(step_layers, borders[1:], strict=True):
            self.steps.append(Step(taken, x, border))
            x = self.steps[-1].output
        self.parameters = [p for step in self.steps for p in step.parameters if p is not None]
        self.addresses = [p.data_ptr() for p in self.parameters]

    def __call__(self, images: Tensor) -> Tensor:
        if self.network.training:
            return self._rest(_Steps.apply(images, self, *self.parameters))
        missing = -len(images) % self.batch_size
        batches = F.pad(images, (0, 0, 0, 0, 0, 0, 0, missing)).split(self.batch_size)
        return torch.cat([self._rest(self.forward(batch)) for batch in batches])[: len(images)]

    def _rest(self, x: Tensor) -> Tensor:
        return self.rest(x.permute(0, 4, 1, 2, 3).flatten(0, 1))

    def forward(self, images: Tensor) -> Tensor:
        """[N, C, H, W] -> [blocks, channels, height, width, 16] of the last step."""
        if [p.data_ptr() for p in self.parameters] != self.addresses:
            raise RuntimeError("the network's parameters were moved in memory")
        lanes = images.unflatten(0, (-1, LANES)).permute(0, 2, 3, 4, 1)
        inner(self.input, self.steps[0].padding).copy_(lanes)
        for step in self.steps:
            step.forward(self.network.training)
        return self.steps[-1].output.clone()  # the next batch overwrites it


class _Steps(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images: Tensor, native: NativeNetwork, *_: Tensor) -> Tensor:
        ctx.native = native
        return native.forward(images)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad, gradients = grad.contiguous(), []  # held: the kernels know its address alone
        plane, steps = Plane.of(grad), ctx.native.steps
        for step in reversed(steps):
            gradients = step.backward(plane, step is not steps[0]) + gradients
            plane = step.arguments.input_gradient
        return None, None, *gradients


def has_own_weights(layer: nn.Module) -> bool:
    """Whether its weight and its bias are its own, not computed from others at each call."""
    return isinstance(layer.weight, nn.Parameter) and isinstance(layer.bias, nn.Parameter | None)


class StepLayers(NamedTuple):
    conv: nn.Conv2d
    relu: nn.ReLU | None
    norm: nn.BatchNorm2d | None
    dropout: nn.Dropout2d | None
    pool: nn.MaxPool2d | None
    norm_first: bool  # ReLU after BatchNorm

    def count(self) -> int:
        return sum(isinstance(each, nn.Module) for each in self)


def take_step(layers: list[nn.Module]) -> StepLayers | None:
    """The layers of a step at the front of a list: a convolution of 3x3 or 1x1, which may be
    depthwise, alone, or followed by a ReLU and some of the other LAYERS; None if there is none."""
    rest = list(layers)
    if norm_first := [type(each) for each in rest[1:3]] == [nn.BatchNorm2d, nn.ReLU]:
        rest[1:3] = rest[2], rest[1]
    taken = [rest.pop(0) if rest and type(rest[0]) is kind else None for kind in LAYERS]
    conv, relu, norm, _, pool = taken
    halves = pool and (pool.kernel_size, pool.stride, pool.padding, pool.dilation) == (2, 2, 0, 1)
    supported = (
        conv
        and all(map(has_own_weights, filter(None, (conv, norm))))
        and (conv.kernel_size, conv.padding) in KERNELS
        and conv.stride == conv.dilation == (1, 1)
        and conv.padding_mode == "zeros"
        and (conv.groups == 1 or conv.groups == conv.in_channels == conv.out_channels)
        and (relu or not any(taken[1:]))
        and (norm is None or (norm.affine and norm.track_running_stats and norm.momentum))
        and (pool is None or halves)
    )
    return StepLayers(*taken, norm_first) if supported else None


class Step:
    """A convolution with the layers that follow it, and the memory that they work in.

    `x`: the input, with the border that the convolution needs; `border`: of the output, as the next
    step needs it.
    """

    def __init__(self, layers: StepLayers, x: Tensor, border: int) -> None:
        conv, relu, norm, dropout, pool, norm_first = layers
        blocks, ins, height, width, _ = x.shape
        side, outs, depthwise = conv.kernel_size[0], conv.out_channels, conv.groups > 1
        rows, columns = height - side + 1, width - side + 1
        self.norm, self.dropout = norm, dropout.p if dropout else 0.0
        self.padding = conv.padding[0]
        self.parameters = (conv.weight, conv.bias, norm and norm.weight, norm and norm.bias)
        groups, back_groups = (outs, 1), (ins, 1)
        if not depthwise:
            groups, back_groups = even_groups(outs), even_groups(ins)
        padded, back_padded = math.prod(groups), math.prod(back_groups)
        if relu:
            stride = 2 if pool else 1
            self.activation = bordered(blocks, padded, rows, columns, 0)
            self.output = bordered(blocks, outs, rows // stride, columns // stride, border)
        else:
            self.output = bordered(blocks, padded, rows, columns, border)[:, :outs]
            self.activation = inner(self.output, border)
        gradient_border = side - 1 - self.padding
        self.gradient = bordered(blocks, padded, rows, columns, gradient_border)
        bordered_gradient = bordered(blocks, back_padded, height, width, 0)
        self.input_gradient = inner(bordered_gradient[:, :ins], self.padding)
        packed = max(padded * (9 * ins + 1), back_padded * (9 * outs + 1))
        sums = blocks * padded * (9 * ins + 2)
        self.drop, factor, shift = torch.ones(3, blocks, outs, LANES)
        mean, deviation = torch.ones(2, outs)
        space = torch.zeros(max(packed, sums))
        running = (norm.running_mean, norm.running_var) if norm else (None, None)
        # held here, as the kernels know only addresses
        self.buffers = (*running, self.drop, factor, shift, mean, deviation, space)
        output = inner(self.output, border)
        planes = (x, self.activation, output, self.gradient, self.input_gradient)
        self.arguments = Arguments(
            *(blocks, outs, relu is not None, norm is not None, pool is not None),
            *(gradient_border, norm_first, side, depthwise),
            *((norm.eps, norm.momentum) if norm else (0, 0)),
            (ins, *groups, rows, columns),
            (outs, *back_groups, *self.input_gradient.shape[2:4]),
            *map(Plane.of, planes),
            *map(pointer, (*self.parameters, *self.buffers)),
        )

    def forward(self, training: bool) -> None:
        if training and self.dropout:
            self.drop.bernoulli_(1 - self.dropout).div_(1 - self.dropout)
        if training and self.norm is not None:
            self.norm.num_batches_tracked.add_(1)
        library().forward(ctypes.byref(self.arguments), training)

    def backward(self, grad: Plane, needs_input: bool) -> list[Tensor]:
        gradients = [None if p is None else torch.empty_like(p) for p in self.parameters]
        written = map(pointer, gradients)
        library().backward(ctypes.byref(self.arguments), grad, needs_input, *written)
        return [gradient for gradient in gradients if gradient is not None]


def bordered(blocks: int, channels: int, height: int, width: int, border: int) -> Tensor:
    """Zeros [blocks, channels, height, width, 16], with a border around height and width."""
    return torch.zeros(blocks, channels, height + 2 * border, width + 2 * border, LANES)


def inner(x: Tensor, border: int) -> Tensor:
    """A tensor without its border."""
    return x[:, :, border : x.shape[2] - border, border : x.shape[3] - border]


def even_groups(channels: int) -> tuple[int, int]:
    """Number of groups and channels in each: few, even groups, each within a kernel's limit."""
    groups = math.ceil(channels / WIDEST)
    return groups, math.ceil(channels / groups)
