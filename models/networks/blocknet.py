"""A classifier built of blocks of different kinds: the network that a search varies."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import nn

from models.checks import Odd, Positive, Probability, Sizes, checked
from models.networks.blocks import ACTIVATIONS, BLOCKS, NORMS, POOLS

Kind = Literal[tuple(BLOCKS)]


class BlockNet(nn.Sequential):
    """Blocks with pools between them, a convolution to the classes, and an average of its map.

    Activation and norm follow each convolution of a block; Dropout2d follows the block.

    float [N, in_channels, image_size, image_size] -> logits [N, num_classes]. ValueError where an
    argument is out of range, or the image is too small for the network.

    Args:
        widths: output channels of each block.
        scale: a factor for all widths, which are rounded, to at least one channel.
        depth: how many of the widths are used, from the first; None: all.
        blocks: the kind of each block, see `blocks.BLOCKS`; or one kind for all.
        kernels: the side of each block's kernel; or one for all.
        padded: this many blocks, from the first, keep the map's size; later ones shrink it.
        pools: after these blocks, counted from 1, a pool of 2x2 halves the map.
        pool, activation, norm: see `blocks.POOLS`, `blocks.ACTIVATIONS` and `blocks.NORMS`.
        norm_first: norm before activation, as most authors have it.
        bias: whether the convolutions have a bias.
        dropout: probability that Dropout2d drops a channel.
        head: the side of the last convolution's kernel.
        uses: how often a shared block uses its filters.
        global_average_pool: average the last map; False: a convolution over the whole map
            (the same as flatten and linear) gives the logits.
        num_classes, in_channels, image_size: classes; channels and side of the images, in pixels.
    """

    @checked
    def __init__(
        self,
        widths: Annotated[Sizes, Field(min_length=1)],
        depth: Positive | None = None,
        blocks: Kind | Sequence[Kind] = "plain",
        kernels: Odd | Sequence[Odd] = 3,
        padded: int = 4,
        pools: Sequence[int] = (2, 4),
        pool: Literal[tuple(POOLS)] = "max",
        activation: Literal[tuple(ACTIVATIONS)] = "relu",
        norm: Literal[tuple(NORMS)] | None = "batch",
        norm_first: bool | None = None,
        bias: bool = False,
        dropout: Probability = 0.0,
        head: Odd = 3,
        uses: Positive = 2,
        global_average_pool: bool = True,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int = 28,
        scale: Annotated[float, Field(gt=0)] | None = None,
    ) -> None:
        widths = [max(1, round(scale * width)) for width in widths] if scale else widths
        depth = depth or len(widths)
        if depth > len(widths):
            raise ValueError(f"depth must be from 1 to the {len(widths)} widths, not {depth}")
        kinds = _for_each_block("blocks", blocks, depth)
        sides = _for_each_block("kernels", kernels, depth)

        def act_norm(width: int) -> list[nn.Module]:
            layers = [ACTIVATIONS[activation](), *([NORMS[norm](width)] if norm else [])]
            return layers[::-1] if norm_first else layers

        def require_rest(side: int, where: str) -> None:
            if side < 1:
                raise ValueError(
                    f"{depth} widths do not fit an image of {image_size}x{image_size}: nothing "
                    f"is left of it after {where}; use fewer widths"
                )

        super().__init__()
        side, channels = image_size, in_channels
        shapes = zip(widths[:depth], kinds, sides, strict=True)
        for i, (width, kind, kernel) in enumerate(shapes, start=1):
            padding = kernel // 2 if i <= padded else 0
            conv = partial(nn.Conv2d, kernel_size=kernel, padding=padding, bias=bias)
            repeated = {"uses": uses} if kind == "shared" else {}
            block = BLOCKS[kind](channels, width, conv, act_norm, **repeated)
            side -= repeated.get("uses", 1) * (kernel - 1 - 2 * padding)
            if dropout:
                block.append(nn.Dropout2d(dropout))
            if i in pools:
                block.append(POOLS[pool](2))
                side //= 2
            require_rest(side, f"block {i} of {depth}")
            self._add(i, block)
            channels = width
        side -= head - 1
        require_rest(side, f"the last convolution, of {head}x{head}")
        last = nn.Conv2d(channels, num_classes, head, bias=bias)
        if global_average_pool:
            whole_map: nn.Module = nn.AvgPool2d(side)
        else:
            whole_map = nn.Conv2d(num_classes, num_classes, side, bias=bias)
        self._add(depth + 1, [last, whole_map, nn.Flatten()])

    def _add(self, block: int, layers: list[nn.Module]) -> None:
        """Append the layers of a block by their names: conv3, relu3, batchnorm3, conv3b."""
        for layer in layers:
            kind = type(layer).__name__.lower().removesuffix("2d")
            names = (f"{kind}{block}{letter}" for letter in ("", *"bcdefghij"))
            self.add_module(next(name for name in names if not hasattr(self, name)), layer)


def _for_each_block(name: str, value: Any, depth: int) -> list[Any]:
    """One value per block, from one value for all blocks or a list of them."""
    if isinstance(value, str | int):
        return [value] * depth
    if len(value) < depth:
        raise ValueError(f"{name} must be one for all or one for each of {depth} blocks: {value}")
    return list(value[:depth])
