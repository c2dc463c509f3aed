"""The network of the ladder: 3x3 convolutions whose widths are the experiment."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from models.checks import require_integers, require_probability

PADDED = 4  # the first four convolutions keep the image's size
POOLED = (2, 4)  # a max pool follows the second and the fourth


class LadderNet(nn.Sequential):
    """A plain convolutional classifier, described by the widths of its convolutions.

    Each convolution is followed by ReLU, BatchNorm2d and Dropout2d, in that order. A last
    convolution maps to one channel per class; global average pooling turns these into logits.

    Args:
        widths: output channels of each convolution but the last, positive integers.
        bias: whether the convolutions have a bias.
        batch_norm: whether BatchNorm2d follows each ReLU.
        dropout: probability that Dropout2d drops a channel, in [0, 1).
        global_average_pool: average the last map; False: a convolution over the whole map
            (the same as flatten and linear) gives the logits.
        num_classes: logits per image.
        in_channels: channels of the images.
        image_size: height and width of the images, in pixels.

    Shapes:
        float [N, in_channels, image_size, image_size] -> logits [N, num_classes].

    Raises:
        ValueError: an argument is out of range, or the image is too small for so many widths.
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
        if not widths:
            raise ValueError("widths must have at least one value")
        require_integers("widths", widths)
        require_probability("dropout", dropout)

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
