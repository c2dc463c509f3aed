"""Ways to get from one map of channels to the next, for few parameters or for many.

Each block maps [N, channels, H, W] to [N, width, H', W'] and returns its layers in the order in
which they run. With padding of kernel // 2 the map keeps its size; with none, each use of the
kernel shrinks it by kernel - 1. The parameter counts below leave out biases and norms.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

Layers = list[nn.Module]

After = Callable[[int], Layers]  # activation and norm for so many channels

Block = Callable[..., Layers]


def plain(channels: int, width: int, kernel: int, padding: int, bias: bool, after: After) -> Layers:
    """A convolution (LeCun and others, "Gradient-Based Learning Applied to Document
    Recognition", 1998). channels x width x kernel² parameters."""
    return [nn.Conv2d(channels, width, kernel, padding=padding, bias=bias), *after(width)]


def separable(
    channels: int, width: int, kernel: int, padding: int, bias: bool, after: After
) -> Layers:
    """A filter for each channel, then a mix of channels for each pixel (Chollet, "Xception",
    2017). channels x kernel² + channels x width parameters."""
    filters = nn.Conv2d(channels, channels, kernel, padding=padding, groups=channels, bias=bias)
    return [filters, nn.Conv2d(channels, width, 1, bias=bias), *after(width)]


def bottleneck(
    channels: int, width: int, kernel: int, padding: int, bias: bool, after: After
) -> Layers:
    """A convolution between half as many channels (He and others, "Deep Residual Learning",
    2016, there with a skip). With h = width / 2: channels x h + h² x kernel² + h x width
    parameters."""
    half = max(1, width // 2)
    return [
        *(nn.Conv2d(channels, half, 1, bias=bias), *after(half)),
        *(nn.Conv2d(half, half, kernel, padding=padding, bias=bias), *after(half)),
        *(nn.Conv2d(half, width, 1, bias=bias), *after(width)),
    ]


def shared(
    channels: int,
    width: int,
    kernel: int,
    padding: int,
    bias: bool,
    after: After,
    uses: int = 2,
) -> Layers:
    """One convolution, used several times, each time with a norm of its own (Eigen and
    others, "Understanding Deep Architectures using a Recursive Convolutional Network", 2013).
    width² x kernel² parameters; where channels differ from width, a 1x1 convolution goes
    before, of channels x width."""
    entry = [] if channels == width else [nn.Conv2d(channels, width, 1, bias=bias)]
    filters = nn.Conv2d(width, width, kernel, padding=padding, bias=bias)
    return entry + [layer for _ in range(uses) for layer in (filters, *after(width))]


def residual(
    channels: int, width: int, kernel: int, padding: int, bias: bool, after: After
) -> Layers:
    """A plain block whose input is added to its output (He and others, "Deep Residual
    Learning", 2016). As many parameters as the plain block; where channels differ from width,
    a 1x1 convolution on the skip adds channels x width."""
    body = plain(channels, width, kernel, padding, bias, after)
    skip = None if channels == width else nn.Conv2d(channels, width, 1, bias=bias)
    return [Residual(nn.Sequential(*body), skip, kernel // 2 - padding)]


class Residual(nn.Module):
    """body(x) + skip(x); a body that shrinks the map by `border` on each side is given that
    much less of the skip."""

    def __init__(self, body: nn.Module, skip: nn.Module | None, border: int) -> None:
        super().__init__()
        self.body, self.skip, self.border = body, skip, border

    def forward(self, x: Tensor) -> Tensor:
        height, width = (side - self.border for side in x.shape[2:])
        kept = x[..., self.border : height, self.border : width]
        return self.body(x) + (kept if self.skip is None else self.skip(kept))


def squeeze(
    channels: int, width: int, kernel: int, padding: int, bias: bool, after: After
) -> Layers:
    """A plain block whose channels are weighed by what the whole map shows (Hu, Shen and
    Sun, "Squeeze-and-Excitation Networks", 2018). With r = width / 4, 2 x width x r + r + width
    parameters more than the plain block."""
    return [*plain(channels, width, kernel, padding, bias, after), SqueezeExcitation(width)]


class SqueezeExcitation(nn.Module):
    """[N, C, H, W] -> the same, each channel times a number between 0 and 1 of its own."""

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.squeeze = nn.Conv2d(channels, hidden, 1)
        self.excite = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.squeeze(self.pool(x)))
        return x * torch.sigmoid(self.excite(hidden))


BLOCKS: dict[str, Block] = {
    block.__name__: block for block in (plain, separable, bottleneck, shared, residual, squeeze)
}

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
}

NORMS: dict[str | None, Callable[[int], nn.Module]] = {
    None: nn.Identity,
    "batch": nn.BatchNorm2d,
    "layer": partial(nn.GroupNorm, 1),
}

POOLS: dict[str, type[nn.Module]] = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}
