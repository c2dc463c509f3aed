"""What a network costs, read off torchinfo, and the limits it is held to before any training."""

from dataclasses import dataclass

import torch
from omegaconf import DictConfig
from torch import nn
from torchinfo import ModelStatistics, summary

from experiments.cli.config import require_int
from experiments.cli.errors import UserError
from models.receptive_field import receptive_field

LARGEST = 3  # layers named when a budget is exceeded


@dataclass(frozen=True)
class Cost:
    """Of one network: `parameters`, `mult_adds` for one image, `bytes` of all
    parameters and buffers as they are stored, `receptive_field` in pixels, the
    `largest` layers in words, and torchinfo's `summary` as text."""

    parameters: int
    mult_adds: int
    bytes: int
    receptive_field: int
    largest: str
    summary: str

    def figures(self) -> dict[str, int]:
        names = ("parameters", "mult_adds", "bytes", "receptive_field")
        return {name: getattr(self, name) for name in names}


def measure(network: nn.Module, data: DictConfig) -> Cost:
    """The cost of a network on one image of the shape that `data` states.

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
    leaves = [info for info in stats.summary_list if info.is_leaf_layer]
    return Cost(
        parameters=stats.total_params,
        mult_adds=stats.total_mult_adds,
        bytes=_bytes(network),
        receptive_field=receptive_field((info.module for info in leaves), data.image_size),
        largest=_largest(stats),
        summary=str(stats),
    )


@dataclass(frozen=True)
class Weight:
    """What can be counted of a network without running it; `mult_adds` only where asked for."""

    parameters: int
    bytes: int
    mult_adds: int = 0


def weigh(network: nn.Module, cfg: DictConfig) -> Cost | Weight:
    """As much of a network's cost as its budget asks for: a few hundred times as fast as
    `measure`, unless multiply-adds have a limit.

    Raises:
        UserError: see `measure`.
    """
    weight = Weight(sum(weight.numel() for weight in network.parameters()), _bytes(network))
    if cfg.budget.mult_adds is None or over(weight, cfg):
        return weight
    return measure(network, cfg.data)


def check(cost: Cost, cfg: DictConfig) -> None:
    """Hold a cost against the limits that `cfg.budget` sets (None: no limit).

    Raises:
        UserError: names the limit, the count, the excess and the largest layers.
    """
    excess = over(cost, cfg)
    if excess:
        raise UserError(
            f"over budget: {'; '.join(excess)}; largest layers: {cost.largest}. "
            "Make the network smaller, or raise the budget"
        )


def over(cost: Cost | Weight, cfg: DictConfig) -> list[str]:
    """Each limit that the cost exceeds, in words; empty where all hold."""
    excess = []
    for name in ("parameters", "mult_adds", "bytes"):
        if cfg.budget[name] is None:
            continue
        limit, count = require_int(cfg, f"budget.{name}", 1), getattr(cost, name)
        if count > limit:
            excess.append(
                f"{count:,} {name}, budget.{name} allows {limit:,}, {count - limit:,} too many"
            )
    return excess


def _bytes(network: nn.Module) -> int:
    stored = (*network.parameters(), *network.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in stored)


def _largest(stats: ModelStatistics) -> str:
    leaves = [info for info in stats.summary_list if info.is_leaf_layer and info.num_params]
    leaves.sort(key=lambda info: info.num_params, reverse=True)
    return ", ".join(
        f"{info.var_name} ({info.class_name}) {info.num_params:,}" for info in leaves[:LARGEST]
    )
