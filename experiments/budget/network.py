"""The network that a configuration describes, within its budget."""

from functools import partial

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
    try_out(cfgs[0])
    for cfg in cfgs[1:]:
        rehearse(cfg)
    cost = price(cfgs[0])
    return [build_network(cfg) for cfg in cfgs], cost


def try_out(cfg: DictConfig) -> None:
    """Raise UserError where a network is over its budget, or its recipe has an invalid value."""
    check(partial(build, cfg, "model"), cfg)
    rehearse(cfg)


def price(cfg: DictConfig) -> Cost:
    """What a network costs; UserError if it cannot be built, or does not take the images."""
    return compute_cost(partial(build, cfg, "model"), cfg.data)


def build_network(cfg: DictConfig) -> nn.Module:
    """A network with its initial weights."""
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
