"""The network of the ladder: 3x3 convolutions whose widths are the experiment."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

PADDED = 4  # the first four convolutions keep the image's size,

POOLED = (2, 4)  # a max pool follows the second and the fourth,


class LadderNet(nn.Sequential):
    """A plain convolutional classifier, described by the widths of its convolutions.

    Each convolution is followed by ReLU, BatchNorm and Dropout2d, in that order;
    a last convolution maps to one channel a class, which global average pooling
    turns into logits.

    Args:
        widths: output channels of each convolution but the last, positive integers.
        bias: whether the convolutions have a bias.
        batch_norm: whether BatchNorm2d follows each ReLU.
        dropout: probability that Dropout2d drops a channel, in [0, 1).
        global_average_pool: average what remains of the image; otherwise a
            convolution over all of it (the same as flatten and linear) reads it.
        num_classes: logits per image.
        in_channels: channels of the images.
        image_size: height and width of the images, in pixels.

    Shapes:
        float [N, in_channels, image_size, image_size] -> logits [N, num_classes].

    Raises:
        ValueError: a width, the dropout, or the number of widths cannot be built.
    """

    def __init__(
        self,
        widths: Sequence[int],
        bias: bool = False,
        batch_norm: bool = True,
        dropout: float = 0.0,
        global_average_pool: bool = True,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int = 28,
    ) -> None:
        if not widths or any(type(width) is not int or width < 1 for width in widths):
            raise ValueError(f"widths must be positive integers, not {widths}")
        if (
            isinstance(dropout, bool)
            or not isinstance(dropout, int | float)
            or not 0 <= dropout < 1
        ):
            raise ValueError(f"dropout must be a number from 0 to below 1, not {dropout}")

        layers: OrderedDict[str, nn.Module] = OrderedDict()
        side, channels = image_size, in_channels
        for i, width in enumerate([*widths, num_classes], start=1):
            padding = 1 if i <= PADDED and i <= len(widths) else 0
            side -= 2 * (1 - padding)
            if side < 1:
                raise ValueError(
                    f"{len(widths)} widths do not fit an image of {image_size}x{image_size}: "
                    f"nothing is left of it at convolution {i} of {len(widths) + 1}; "
                    "use fewer widths"
                )
            layers[f"conv{i}"] = nn.Conv2d(channels, width, 3, padding=padding, bias=bias)
            channels = width
            if i <= len(widths):
                layers[f"relu{i}"] = nn.ReLU()
                if batch_norm:
                    layers[f"norm{i}"] = nn.BatchNorm2d(width)
                if dropout:
                    layers[f"drop{i}"] = nn.Dropout2d(dropout)
                if i in POOLED:
                    layers[f"pool{i}"] = nn.MaxPool2d(2)
                    side //= 2
        if global_average_pool:
            layers["average"] = nn.AvgPool2d(side)
        else:
            layers["dense"] = nn.Conv2d(channels, num_classes, side, bias=bias)
        layers["flatten"] = nn.Flatten()
        super().__init__(layers)
