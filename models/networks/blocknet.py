"""A classifier made of blocks, each of a kind of its own: the network of a search."""

from collections import Counter, OrderedDict
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from torch import nn

from models.networks.blocks import ACTIVATIONS, BLOCKS, NORMS, POOLS


class BlockNet(nn.Sequential):
    """Blocks with pools between them, a convolution to the classes, and an average of its map.

    With plain blocks of 3x3 it is LadderNet, layer by layer. A block's convolution is
    followed by activation and norm, the block by Dropout2d.

    Args:
        widths: output channels of each block, positive integers.
        depth: how many of the widths are used, from the first; None: all.
        blocks: the kind of each block, see `blocks.BLOCKS`; or one kind for all.
        kernels: the side of each block's kernel, odd; or one for all.
        padded: the first so many blocks keep the map's size, later ones shrink it.
        pools: after which blocks, counted from 1, a pool of 2x2 halves the map.
        pool: the kind of pool, max or average.
        activation: see `blocks.ACTIVATIONS`.
        norm: batch, layer or None.
        bias: whether the convolutions have a bias.
        dropout: probability that Dropout2d drops a channel, in [0, 1).
        head: the kernel of the last convolution, to one channel a class.
        uses: how often a shared block uses its filters.
        num_classes: logits per image.
        in_channels: channels of the images.
        image_size: height and width of the images, in pixels.

    Shapes:
        float [N, in_channels, image_size, image_size] -> logits [N, num_classes].

    Raises:
        ValueError: a value is none of those, or the image is too small for the network.
    """

    def __init__(
        self,
        widths: Sequence[int],
        depth: int | None = None,
        blocks: str | Sequence[str] = "plain",
        kernels: int | Sequence[int] = 3,
        padded: int = 4,
        pools: Collection[int] = (2, 4),
        pool: str = "max",
        activation: str = "relu",
        norm: str | None = "batch",
        bias: bool = False,
        dropout: float = 0.0,
        head: int = 3,
        uses: int = 2,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int = 28,
    ) -> None:
        _whole("widths", widths)
        depth = len(widths) if depth is None else depth
        if type(depth) is not int or not 1 <= depth <= len(widths):
            raise ValueError(f"depth must be from 1 to the {len(widths)} widths, not {depth}")
        kinds = _each("blocks", blocks, depth)
        sides = _each("kernels", kernels, depth)
        for kind in kinds:
            _chosen("blocks", kind, BLOCKS)
        _whole("kernels", [*sides, head], odd=True)
        _whole("uses", [uses])
        if type(dropout) not in (int, float) or not 0 <= dropout < 1:
            raise ValueError(f"dropout must be a number from 0 to below 1, not {dropout}")
        make_pool = _chosen("pool", pool, POOLS)
        activate, normalize = (
            _chosen("activation", activation, ACTIVATIONS),
            _chosen("norm", norm, NORMS),
        )

        def after(width: int) -> list[nn.Module]:
            return [activate()] if norm is None else [activate(), normalize(width)]

        layers: OrderedDict[str, nn.Module] = OrderedDict()
        side, channels = image_size, in_channels
        for i, (width, kind, kernel) in enumerate(
            zip(widths[:depth], kinds, sides, strict=True), start=1
        ):
            padding = kernel // 2 if i <= padded else 0
            block, times = (
                (partial(BLOCKS[kind], uses=uses), uses) if kind == "shared" else (BLOCKS[kind], 1)
            )
            made = block(channels, width, kernel, padding, bias, after)
            side -= times * (kernel - 1 - 2 * padding)
            if dropout:
                made.append(nn.Dropout2d(dropout))
            if i in pools:
                made.append(make_pool(2))
                side //= 2
            if side < 1:
                raise ValueError(f"nothing is left of an image of {image_size} after block {i}")
            _add(layers, made, i)
            channels = width
        side -= head - 1
        if side < 1:
            raise ValueError(f"a head of {head}x{head} does not fit what is left of the image")
        last = nn.Conv2d(channels, num_classes, head, bias=bias)
        _add(layers, [last, nn.AvgPool2d(side), nn.Flatten()], depth + 1)
        super().__init__(layers)


def _add(layers: OrderedDict[str, nn.Module], made: list[nn.Module], block: int) -> None:
    """Add the layers of a block by their names: conv3, relu3, batchnorm3, conv3b."""
    seen: Counter[str] = Counter()
    for layer in made:
        name = type(layer).__name__.lower().removesuffix("2d")
        seen[name] += 1
        layers[f"{name}{block}{' bcdefghij'[seen[name] - 1].strip()}"] = layer


def _each(name: str, value: Any, depth: int) -> list[Any]:
    """A value for each block, from one for all or from a list of them."""
    if isinstance(value, str | int):
        return [value] * depth
    if len(value) < depth:
        raise ValueError(f"{name} must be one for all or one for each of {depth} blocks: {value}")
    return list(value[:depth])


def _chosen(name: str, value: Any, choices: dict[Any, Any]) -> Any:
    if value not in choices:
        known = ", ".join("null" if choice is None else choice for choice in choices)
        raise ValueError(f"{name} must be one of {known}, not {value}")
    return choices[value]


def _whole(name: str, values: Sequence[int], odd: bool = False) -> None:
    if not values or any(type(value) is not int or value < 1 for value in values):
        raise ValueError(f"{name} must be positive integers, not {values}")
    if odd and any(value % 2 == 0 for value in values):
        raise ValueError(f"{name} must be odd, not {values}")
