"""The network of the ladder: 3x3 convolutions whose widths are the experiment."""

from collections.abc import Sequence

from models.networks.blocknet import BlockNet


class LadderNet(BlockNet):
    """A plain convolutional classifier, described by the widths of its convolutions.

    Each convolution is followed by ReLU, BatchNorm2d and Dropout2d, in that order, the second
    and the fourth also by a max pool. The first four keep the image's size. A last convolution
    maps to one channel per class; global average pooling turns these into logits.

    Args:
        widths: output channels of each convolution but the last, positive integers.
        batch_norm: whether BatchNorm2d follows each ReLU.
        bias, dropout, global_average_pool, num_classes, in_channels, image_size: see BlockNet.

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
        super().__init__(
            widths,
            norm="batch" if batch_norm else None,
            bias=bias,
            dropout=dropout,
            global_average_pool=global_average_pool,
            num_classes=num_classes,
            in_channels=in_channels,
            image_size=image_size,
        )
