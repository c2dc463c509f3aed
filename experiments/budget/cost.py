"""What a network costs, and the limits of a budget."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from omegaconf import DictConfig
from torch import nn
from torchinfo import summary

from experiments.cli.config import require_int
from experiments.cli.errors import UserError
from models.receptive_field import receptive_field

LARGEST = 3  # layers that an error names


@dataclass(frozen=True)
class Cost:
    """The cost of one network.

    Attributes:
        parameters: distinct ones.
        mult_adds: multiply-adds for one image, as torchinfo counts them.
        bytes: of all parameters and buffers, as they are stored.
        receptive_field: in pixels.
        largest: the layers with the most parameters, as a text.
        summary: torchinfo's table.
    """

    parameters: int
    mult_adds: int
    bytes: int
    receptive_field: int
    largest: str
    summary: str

    def figures(self) -> dict[str, int]:
        names = ("parameters", "mult_adds", "bytes", "receptive_field")
        return {name: getattr(self, name) for name in names}


def compute_cost(network: nn.Module, data: DictConfig) -> Cost:
    """Run a network on one image of the shape that `data` states, and count.

    Raises:
        UserError: the network does not take such an image.
    """
    shape = (1, data.in_channels, data.image_size, data.image_size)
    device = next((weight.device for weight in network.parameters()), torch.device("cpu"))
    try:
        stats = summary(network, input_size=shape, device=device, verbose=0, mode="eval")
    except RuntimeError as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        raise UserError(f"model: does not take an image of {shape[1:]}: {reason}") from error
    layers = [info for info in stats.summary_list if info.is_leaf_layer]
    largest = sorted(layers, key=lambda info: info.num_params, reverse=True)[:LARGEST]
    return Cost(
        **count_stored(network),
        mult_adds=stats.total_mult_adds,
        receptive_field=receptive_field((info.module for info in layers), data.image_size),
        largest=", ".join(
            f"{info.var_name} ({info.class_name}) {info.num_params:,}"
            for info in largest
            if info.num_params
        ),
        summary=str(stats),
    )


def count_stored(network: nn.Module) -> dict[str, int]:
    """The parameters of a network, and the bytes of its parameters and buffers."""
    tensors = [*network.parameters(), *network.buffers()]
    return {
        "parameters": sum(weight.numel() for weight in network.parameters()),
        "bytes": sum(tensor.numel() * tensor.element_size() for tensor in tensors),
    }


def check(cost: Cost, cfg: DictConfig) -> None:
    """Compare a cost with the limits that `cfg.budget` sets (None: no limit).

    Raises:
        UserError: names the limit, the count, the excess and the largest layers.
    """
    if exceeded := _exceeded(cost.figures(), cfg):
        raise UserError(
            f"over budget: {'; '.join(exceeded)}; largest layers: {cost.largest}. "
            "Make the network smaller, or raise the budget"
        )


def exceeded_limits(network: nn.Module, cfg: DictConfig) -> list[str]:
    """Each limit of `cfg.budget` that a network exceeds, as a text; for one of many networks.

    The network runs only where multiply-adds have a limit and the other limits hold: without
    that, this is a few hundred times as fast as `compute_cost`.

    Raises:
        UserError: see `compute_cost`.
    """
    exceeded = _exceeded(count_stored(network), cfg)
    if exceeded or cfg.budget.mult_adds is None:
        return exceeded
    return _exceeded(compute_cost(network, cfg.data).figures(), cfg)


def _exceeded(counts: Mapping[str, int], cfg: DictConfig) -> list[str]:
    exceeded = []
    for name in ("parameters", "mult_adds", "bytes"):
        if cfg.budget[name] is None or name not in counts:
            continue
        limit, count = require_int(cfg, f"budget.{name}", 1), counts[name]
        if count > limit:
            exceeded.append(
                f"{count:,} {name}, budget.{name} allows {limit:,}, {count - limit:,} too many"
            )
    return exceeded
