"""How much of the image one output of a network sees."""

from collections.abc import Iterable

from torch import nn


def receptive_field(layers: Iterable[nn.Module], image_size: int) -> int:
    """Side of the input square that one output depends on, in pixels.

    Each convolution or pool adds (kernel - 1) x dilation steps of the size that the strides before
    it have multiplied up to (Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional
    Neural Networks", Distill 2019). It may exceed the image, whose surroundings are padding. A
    linear layer, or a pool to one pixel as in squeeze and excitation, sees all of its input.

    `layers`: the leaf modules in the order in which they run, one after another.
    """
    field, jump = 1, 1
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            dilation = getattr(layer, "dilation", 1)
            field += (_side(layer.kernel_size) - 1) * _side(dilation) * jump
            jump *= _side(layer.stride)
        elif isinstance(layer, nn.Linear | nn.AdaptiveAvgPool2d):
            field = max(field, image_size)
    return field


def _side(value: int | tuple[int, ...]) -> int:
    return max(value) if isinstance(value, tuple) else value
