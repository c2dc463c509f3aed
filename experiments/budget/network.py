"""The network that a configuration describes, within its budget."""

from functools import partial

import torch
from omegaconf import DictConfig
from torch import nn

from experiments.budget.cost import Cost, compute_cost
from experiments.cli.config import build
from experiments.cli.errors import UserError
from models.schedules import make_schedule


def prepare(cfgs: list[DictConfig]) -> tuple[list[nn.Module], Cost]:
    """The network of each run, all of one architecture, and what it costs; see `try_out`."""
    cost = try_out(cfgs[0])
    for cfg in cfgs[1:]:
        rehearse(cfg)
    return [build_network(cfg) for cfg in cfgs], cost


def try_out(cfg: DictConfig) -> Cost:
    """What a network costs; nothing is read or written.

    Raises:
        UserError: it cannot be built or is over its budget, or its recipe has an invalid value.
    """
    cost = price(cfg, cfg.budget)
    rehearse(cfg)
    return cost


def price(cfg: DictConfig, budget: DictConfig | None = None) -> Cost:
    """What a network costs; UserError if it cannot be built, or is over a budget."""
    return compute_cost(partial(build, cfg, "model"), cfg.data, budget)


def build_network(cfg: DictConfig) -> nn.Module:
    """A network with its initial weights."""
    torch.manual_seed(cfg.seed)
    return build(cfg, "model")


def rehearse(cfg: DictConfig) -> None:
    """Raise UserError where augmentation, loss, optimizer or schedule do not accept a value.

    Some are found by a step only, so the optimizer and its schedule take one.
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
