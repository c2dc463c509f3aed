"""The network of the ladder: 3x3 convolutions whose widths are the experiment."""

from typing import Any

from models.checks import Sizes
from models.networks.blocknet import BlockNet


class LadderNet(BlockNet):
    """A plain convolutional classifier, described by the widths of its convolutions.

    Each convolution is followed by ReLU, BatchNorm2d and Dropout2d, in that order, the second
    and the fourth also by a max pool. The first four keep the image's size. A last convolution
    maps to one channel per class; global average pooling turns these into logits.

    Args:
        widths: output channels of each convolution but the last.
        batch_norm: whether BatchNorm2d follows each ReLU.
        options: see BlockNet.
    """

    def __init__(self, widths: Sizes, batch_norm: bool = True, **options: Any) -> None:
        super().__init__(widths, norm="batch" if batch_norm else None, **options)
