"""What a network costs, and the limits of a budget."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from omegaconf import DictConfig
from torch import nn
from torchinfo import summary

from experiments.cli.errors import UserError
from models.receptive_field import receptive_field

LARGEST = 3  # layers that an error names


@dataclass(frozen=True)
class Cost:
    """The cost of one network."""

    parameters: int  # distinct ones
    mult_adds: int  # multiply-adds for one image, as torchinfo counts them
    bytes: int  # of all parameters and buffers, as they are stored
    receptive_field: int  # in pixels
    largest: str  # the layers with the most parameters
    summary: str  # torchinfo's table

    def figures(self) -> dict[str, int]:
        return {name: value for name, value in vars(self).items() if isinstance(value, int)}


def compute_cost(network: nn.Module, data: DictConfig) -> Cost:
    """Run a network on one image of the shape that `data` states; UserError if it cannot."""
    shape = (1, data.in_channels, data.image_size, data.image_size)
    device = next((weight.device for weight in network.parameters()), torch.device("cpu"))
    try:
        stats = summary(network, input_size=shape, device=device, verbose=0, mode="eval")
    except RuntimeError as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise UserError(f"model: does not take an image of {shape[1:]}: {reason}") from error
    layers = [info for info in stats.summary_list if info.is_leaf_layer]
    largest = sorted(layers, key=lambda info: -info.num_params)[:LARGEST]
    return Cost(
        **_count_stored(network),
        mult_adds=stats.total_mult_adds,
        receptive_field=receptive_field((info.module for info in layers), data.image_size),
        largest=", ".join(
            f"{info.var_name} ({info.class_name}) {info.num_params:,}" for info in largest
        ),
        summary=str(stats),
    )


def check(cost: Cost, cfg: DictConfig) -> None:
    """Raise UserError where a cost exceeds a limit of `cfg.budget`; it names the largest layers."""
    if exceeded := _exceeded(cost.figures(), cfg):
        raise UserError(
            f"over budget: {'; '.join(exceeded)}; largest layers: {cost.largest}. "
            "Make the network smaller, or raise the budget"
        )


def exceeded_limits(network: nn.Module, cfg: DictConfig) -> list[str]:
    """Each limit of `cfg.budget` that one of many networks exceeds, as a text.

    Without a limit of multiply-adds the network does not run, which saves most of the time.
    """
    exceeded = _exceeded(_count_stored(network), cfg)
    if exceeded or cfg.budget.mult_adds is None:
        return exceeded
    return _exceeded(compute_cost(network, cfg.data).figures(), cfg)


def _count_stored(network: nn.Module) -> dict[str, int]:
    tensors = [*network.parameters(), *network.buffers()]
    return {
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "bytes": sum(tensor.numel() * tensor.element_size() for tensor in tensors),
    }


def _exceeded(figures: Mapping[str, int], cfg: DictConfig) -> list[str]:
    return [
        f"{count:,} {name}, budget.{name} allows {limit:,}, {count - limit:,} too many"
        for name, limit in cfg.budget.items()
        if limit is not None and (count := figures.get(name, 0)) > limit
    ]
