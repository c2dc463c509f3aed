"""Convolutions of any size, then dense layers: from LeNet to VGG."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn


class ConvNet(nn.Sequential):
    """Convolutions, each with BatchNorm2d, ReLU and max pool as asked, then dense layers.

    Args:
        widths: output channels of each convolution.
        kernels: side of each convolution's kernel.
        paddings: zeros around the input of each convolution.
        pooled: numbers, from 1, of the convolutions that a max pool of 2x2 follows.
        hidden: outputs of each dense layer but the last one; a ReLU follows each.
        bottleneck: outputs of one more dense layer, without ReLU, before the last one;
            None: none.
        dropout: probability that an input of each dense layer is dropped, in their order, each
            in [0, 1); what is not given is 0.
        batch_norm: whether BatchNorm2d follows each convolution, ahead of its ReLU.
        resize: side that the image is scaled to before all else, in pixels; None: as it is.
        num_classes: logits per image.
        in_channels: channels of the images.
        image_size: height and width of the images, in pixels.

    Shapes:
        float [N, in_channels, image_size, image_size] -> logits [N, num_classes].

    Raises:
        ValueError: a value cannot be built.
    """

    def __init__(
        self,
        widths: Sequence[int],
        kernels: Sequence[int],
        paddings: Sequence[int],
        pooled: Sequence[int] = (),
        hidden: Sequence[int] = (),
        bottleneck: int | None = None,
        dropout: Sequence[float] = (),
        batch_norm: bool = False,
        resize: int | None = None,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int = 28,
    ) -> None:
        one_each = {"widths": (widths, 1), "kernels": (kernels, 1), "paddings": (paddings, 0)}
        some = {"pooled": (pooled, 1), "hidden": (hidden, 1)}
        perhaps = {"bottleneck": bottleneck, "resize": resize}
        some |= {name: ([value], 1) for name, value in perhaps.items() if value is not None}
        for name, (values, least) in (one_each | some).items():
            if any(type(value) is not int or value < least for value in values):
                raise ValueError(f"{name} must be whole numbers from {least}, not {values}")
        counts = [len(values) for values, _ in one_each.values()]
        if not widths or len(set(counts)) > 1 or any(number > len(widths) for number in pooled):
            raise ValueError(
                "widths, kernels and paddings must have a value for each convolution, "
                f"and pooled be numbers of some; here are {counts} values, and {pooled}"
            )
        dense = [*hidden, *([] if bottleneck is None else [bottleneck]), num_classes]
        if len(dropout) > len(dense) or any(
            type(p) not in (int, float) or not 0 <= p < 1 for p in dropout
        ):
            raise ValueError(
                f"dropout must be at most {len(dense)} numbers from 0 to below 1, not {dropout}"
            )

        layers: OrderedDict[str, nn.Module] = OrderedDict()
        side, channels = resize or image_size, in_channels
        if resize is not None:
            layers["resize"] = nn.Upsample((resize, resize), mode="bilinear")
        shapes = zip(widths, kernels, paddings, strict=True)
        for i, (width, kernel, padding) in enumerate(shapes, start=1):
            layers[f"conv{i}"] = nn.Conv2d(channels, width, kernel, padding=padding)
            if batch_norm:
                layers[f"norm{i}"] = nn.BatchNorm2d(width)
            layers[f"relu{i}"] = nn.ReLU()
            side += 2 * padding - kernel + 1
            if i in pooled:
                layers[f"pool{i}"] = nn.MaxPool2d(2)
                side //= 2
            if side < 1:
                raise ValueError(f"nothing is left of the image after convolution {i}")
            channels = width
        layers["flatten"] = nn.Flatten()
        inputs = channels * side**2
        for i, width in enumerate(dense, start=1):
            if dropout[i - 1 : i] and dropout[i - 1]:
                layers[f"drop{i}"] = nn.Dropout(dropout[i - 1])
            layers[f"linear{i}"] = nn.Linear(inputs, width)
            if i <= len(hidden):
                layers[f"relu{len(widths) + i}"] = nn.ReLU()
            inputs = width
        super().__init__(layers)
