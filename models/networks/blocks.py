"""Blocks of layers, from cheap to expensive in parameters.

Each function returns the layers of a block that maps [N, channels, H, W] to [N, width, H', W'],
in the order in which they run. `conv` is nn.Conv2d with the block's kernel, padding and bias. With
a padding of kernel // 2 the map keeps its size; without padding each use of the kernel shrinks it
by kernel - 1. The parameter counts below leave out biases and norms.
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

Layers = list[nn.Module]
Conv = partial[nn.Conv2d]
ActNorm = Callable[[int], Layers]  # from a number of channels to activation and norm


def plain(channels: int, width: int, conv: Conv, act_norm: ActNorm) -> Layers:
    """A convolution (LeCun and others, "Gradient-Based Learning Applied to Document
    Recognition", 1998). channels x width x kernel² parameters."""
    return [conv(channels, width), *act_norm(width)]


def separable(channels: int, width: int, conv: Conv, act_norm: ActNorm) -> Layers:
    """One filter per channel, then a 1x1 convolution over the channels (Chollet, "Xception",
    2017). channels x kernel² + channels x width parameters."""
    filters = conv(channels, channels, groups=channels)
    return [filters, pointwise(channels, width, conv), *act_norm(width)]


def bottleneck(channels: int, width: int, conv: Conv, act_norm: ActNorm) -> Layers:
    """A convolution between half as many channels (He and others, "Deep Residual Learning",
    2016, there with a skip). With h = width / 2: channels x h + h² x kernel² + h x width
    parameters."""
    half = max(1, width // 2)
    return [
        *(pointwise(channels, half, conv), *act_norm(half)),
        *(conv(half, half), *act_norm(half)),
        *(pointwise(half, width, conv), *act_norm(width)),
    ]


def shared(channels: int, width: int, conv: Conv, act_norm: ActNorm, uses: int = 2) -> Layers:
    """One convolution, used several times, each time with its own norm (Eigen and others,
    "Understanding Deep Architectures using a Recursive Convolutional Network", 2013).
    width² x kernel² parameters; where channels differ from width, a 1x1 convolution comes
    first, of channels x width."""
    entry = [] if channels == width else [pointwise(channels, width, conv)]
    filters = conv(width, width)
    return entry + [layer for _ in range(uses) for layer in (filters, *act_norm(width))]


def residual(channels: int, width: int, conv: Conv, act_norm: ActNorm) -> Layers:
    """A plain block whose input is added to its output (He and others, "Deep Residual
    Learning", 2016). As many parameters as the plain block; where channels differ from width,
    a 1x1 convolution on the skip adds channels x width."""
    body = nn.Sequential(*plain(channels, width, conv, act_norm))
    return [Residual(body, None if channels == width else pointwise(channels, width, conv))]


def squeeze(channels: int, width: int, conv: Conv, act_norm: ActNorm) -> Layers:
    """A plain block whose channels are weighted by a summary of the whole map (Hu, Shen and
    Sun, "Squeeze-and-Excitation Networks", 2018). With r = width / 4, 2 x width x r + r + width
    parameters more than the plain block."""
    from torchvision.ops import SqueezeExcitation  # takes a second, for this block alone

    body = plain(channels, width, conv, act_norm)
    return [*body, SqueezeExcitation(width, max(1, width // 4))]


def pointwise(channels: int, width: int, conv: Conv) -> nn.Conv2d:
    return conv(channels, width, kernel_size=1, padding=0)


class Residual(nn.Module):
    """body(x) + skip(x), cropped where the body shrinks the map. Without skip, x is added."""

    def __init__(self, body: nn.Module, skip: nn.Module | None) -> None:
        super().__init__()
        self.body, self.skip = body, skip

    def forward(self, x: Tensor) -> Tensor:
        result = self.body(x)
        border = (x.shape[2] - result.shape[2]) // 2
        cropped = x[..., border : x.shape[2] - border, border : x.shape[3] - border]
        return result + (cropped if self.skip is None else self.skip(cropped))


BLOCKS = {
    block.__name__: block for block in (plain, separable, bottleneck, shared, residual, squeeze)
}
ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
}
NORMS = {
    "batch": nn.BatchNorm2d,
    "batch_without_weights": partial(nn.BatchNorm2d, affine=False),
    "layer": partial(nn.GroupNorm, 1),
}
POOLS = {"max": nn.MaxPool2d, "average": nn.AvgPool2d}
