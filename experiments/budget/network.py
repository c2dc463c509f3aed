"""The network that a configuration describes, within its budget."""

import torch
from omegaconf import DictConfig
from torch import nn

from experiments.budget.cost import Cost, check, compute_cost
from experiments.cli.config import build
from experiments.cli.errors import UserError
from models.schedules import make_schedule


def prepare(cfgs: list[DictConfig]) -> tuple[list[nn.Module], Cost]:
    """The network of each run, and the cost of each; nothing is read or written.

    Args:
        cfgs: of one architecture.

    Raises:
        UserError: the network cannot be built, or is over its budget.
    """
    network, cost = design(cfgs[0])
    check(cost, cfgs[0])
    for cfg in cfgs:
        rehearse(cfg)
    return [network, *map(_build_network, cfgs[1:])], cost


def design(cfg: DictConfig) -> tuple[nn.Module, Cost]:
    """The network with its initial weights, and its cost; UserError if it cannot be built."""
    network = _build_network(cfg)
    return network, compute_cost(network, cfg.data)


def _build_network(cfg: DictConfig) -> nn.Module:
    torch.manual_seed(cfg.seed)
    return build(cfg, "model")


def rehearse(cfg: DictConfig) -> None:
    """Step the optimizer and its schedule once, to find values that they do not accept.

    Raises:
        UserError: the augmentation, the loss, the optimizer or the scheduler has such a value.
    """
    build(cfg, "augmentation")
    build(cfg, "loss")
    part = "optimizer"
    try:
        optimizer = build(cfg, part)([nn.Parameter(torch.zeros(1))])
        optimizer.step()
        part = "scheduler"
        if make := build(cfg, part):
            scheduler = make_schedule(make, optimizer, batches=10)
            optimizer.step()
            scheduler.step()
    except (ValueError, TypeError, ArithmeticError) as error:
        raise UserError(f"{part}: {error}") from error
