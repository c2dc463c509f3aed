"""Convolutions of any size, then dense layers: from LeNet to VGG."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Annotated

from pydantic import Field
from torch import nn

from models.checks import Positive, Probability, Sizes, checked


class ConvNet(nn.Sequential):
    """Convolutions, each with optional BatchNorm2d, ReLU and optional max pool, then dense layers.

    float [N, in_channels, image_size, image_size] -> logits [N, num_classes]. ValueError where an
    argument is out of range, or the image is too small for the network.

    Args:
        widths, kernels, paddings: output channels, side of the kernel, and zeros around the input
            of each convolution.
        pooled: the convolutions, counted from 1, that a max pool of 2x2 follows.
        hidden: outputs of each dense layer but the last one; a ReLU follows each.
        bottleneck: outputs of one more dense layer, without ReLU, before the last one; or None.
        dropout: probability that an input of each dense layer is dropped, in their order;
            missing values are 0.
        batch_norm: whether BatchNorm2d follows each convolution, ahead of its ReLU.
        resize: the image is first scaled to this side, in pixels; None: it is not scaled.
        num_classes, in_channels, image_size: see BlockNet.
    """

    @checked
    def __init__(
        self,
        widths: Sizes,
        kernels: Sizes,
        paddings: Sequence[Annotated[int, Field(ge=0)]],
        pooled: Sizes = (),
        hidden: Sizes = (),
        bottleneck: Positive | None = None,
        dropout: Sequence[Probability] = (),
        batch_norm: bool = False,
        resize: Positive | None = None,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int = 28,
    ) -> None:
        if not widths or not len(widths) == len(kernels) == len(paddings):
            raise ValueError(
                "widths, kernels and paddings must have one value for each convolution, not "
                f"{len(widths)}, {len(kernels)} and {len(paddings)} values"
            )
        if any(number > len(widths) for number in pooled):
            raise ValueError(f"pooled must be from the {len(widths)} convolutions, not {pooled}")
        dense = [*hidden, *([bottleneck] if bottleneck else []), num_classes]
        if len(dropout) > len(dense):
            raise ValueError(f"dropout must have at most {len(dense)} values, not {dropout}")

        super().__init__()
        side, channels = resize or image_size, in_channels
        if resize:
            self.resize = nn.Upsample((resize, resize), mode="bilinear")
        shapes = zip(widths, kernels, paddings, strict=True)
        for i, (width, kernel, padding) in enumerate(shapes, start=1):
            self.add_module(f"conv{i}", nn.Conv2d(channels, width, kernel, padding=padding))
            if batch_norm:
                self.add_module(f"norm{i}", nn.BatchNorm2d(width))
            self.add_module(f"relu{i}", nn.ReLU())
            side += 2 * padding - kernel + 1
            if i in pooled:
                self.add_module(f"pool{i}", nn.MaxPool2d(2))
                side //= 2
            if side < 1:
                raise ValueError(f"nothing is left of the image after convolution {i}")
            channels = width
        self.flatten = nn.Flatten()
        inputs = channels * side**2
        for i, (width, drop) in enumerate(zip_longest(dense, dropout, fillvalue=0), start=1):
            if drop:
                self.add_module(f"drop{i}", nn.Dropout(drop))
            self.add_module(f"linear{i}", nn.Linear(inputs, width))
            if i <= len(hidden):
                self.add_module(f"relu{len(widths) + i}", nn.ReLU())
            inputs = width
