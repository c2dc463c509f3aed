"""What a network costs, and the limits of a budget.

Parameters are distinct ones: weights that two layers share count once. Multiply-adds are the
products of convolutions and matrix multiplications for one image, as PyTorch's counter finds them
in whatever a network calls. A bias is where such a sum starts, and BatchNorm can be folded into
the weights: neither counts, nor do activations and pools.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from omegaconf import DictConfig
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchinfo import summary

from experiments.cli.errors import UserError
from models.receptive_field import receptive_field

LARGEST = 3  # layers that an error names

Make = Callable[[], nn.Module]  # builds a network; called for PyTorch's meta device: no values


@dataclass(frozen=True)
class Cost:
    """The cost of one network."""

    parameters: int
    mult_adds: int
    bytes: int  # of all parameters and buffers, as they are stored
    receptive_field: int  # in pixels
    largest: str  # the layers with the most parameters
    summary: str  # torchinfo's table, and our counts

    def figures(self) -> dict[str, int]:
        return {name: value for name, value in vars(self).items() if isinstance(value, int)}


def compute_cost(make: Make, data: DictConfig) -> Cost:
    """The cost for an image of the shape that `data` states; UserError if it is not taken."""
    network, shape = _on_paper(make), (1, data.in_channels, data.image_size, data.image_size)
    counter = FlopCounterMode(display=False)
    try:
        with torch.device("meta"), counter:
            table = summary(network, input_size=shape, device="meta", verbose=0, mode="eval")
    except RuntimeError as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise UserError(f"model: does not take an image of {shape[1:]}: {reason}") from error
    stored, mult_adds = _count_stored(network), counter.get_total_flops() // 2  # 2 operations each
    leaves = (info.module for info in table.summary_list if info.is_leaf_layer)
    ours = f"counted: {stored['parameters']:,} parameters, {mult_adds:,} multiply-adds"
    if stored["parameters"] != table.total_params:
        once = dict(network.named_parameters())
        every = dict(network.named_parameters(remove_duplicate=False))
        ours += f"; shared, and so not counted again: {', '.join(every.keys() - once)}"
    return Cost(
        **stored,
        mult_adds=mult_adds,
        receptive_field=receptive_field(leaves, data.image_size),
        largest=_largest(network),
        summary=f"{table}\n{ours}",
    )


def check(make: Make, cfg: DictConfig) -> None:
    """Raise UserError where a network exceeds a limit of `cfg.budget`; it names the largest layers.

    Multiply-adds take a second at first, for PyTorch's imports; they wait until the rest fits.
    """
    network = _on_paper(make)
    exceeded = _exceeded(_count_stored(network), cfg)
    if not exceeded and cfg.budget.mult_adds is not None:
        exceeded = _exceeded(compute_cost(make, cfg.data).figures(), cfg)
    if exceeded:
        raise UserError(
            f"over budget: {'; '.join(exceeded)}; largest layers: {_largest(network)}. "
            "Make the network smaller, or raise the budget"
        )


def _exceeded(figures: dict[str, int], cfg: DictConfig) -> list[str]:
    return [
        f"{count:,} {name}, budget.{name} allows {limit:,}, {count - limit:,} too many"
        for name, limit in cfg.budget.items()
        if limit is not None and (count := figures.get(name, 0)) > limit
    ]


def _on_paper(make: Make) -> nn.Module:
    """A network whose tensors have shapes and no values, so that nothing is computed."""
    with torch.device("meta"):
        network = make()
    for name, weight in network.named_parameters():
        if nn.parameter.is_lazy(weight):
            raise UserError(f"model: {name} is of a lazy layer; give its size")
    return network


def _count_stored(network: nn.Module) -> dict[str, int]:
    tensors = [*network.parameters(), *network.buffers()]
    return {
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "bytes": sum(tensor.nbytes for tensor in tensors),
    }


def _largest(network: nn.Module) -> str:
    sizes = [
        (sum(weight.numel() for weight in layer.parameters(recurse=False)), name, layer)
        for name, layer in network.named_modules()
    ]
    largest = sorted(sizes, key=lambda one: -one[0])[:LARGEST]
    return ", ".join(f"{name} ({type(layer).__name__}) {size:,}" for size, name, layer in largest)
