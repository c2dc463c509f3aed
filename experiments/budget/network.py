"""The network of a run, within its budget, and the recipe that it is trained by."""

import torch
from omegaconf import DictConfig
from torch import nn

from experiments.budget.cost import Cost, cost_of
from experiments.cli.config import build
from experiments.cli.errors import UserError
from models.networks.branches import add_branches
from models.schedules import make_schedule


def build_networks(cfgs: list[DictConfig]) -> tuple[list[nn.Module], Cost]:
    """The network of each run, all of one architecture, and its cost; see `check_trainable`."""
    cost = check_trainable(cfgs[0])
    for cfg in cfgs[1:]:
        check_recipe(cfg)
    return [build_network(cfg) for cfg in cfgs], cost


def check_trainable(cfg: DictConfig) -> Cost:
    """The cost of a network; UserError if it is over its budget, or its recipe has a bad value."""
    cost = cost_of(cfg, cfg.budget)
    check_recipe(cfg)
    return cost


def build_network(cfg: DictConfig) -> nn.Module:
    """A network with its initial weights, as it is trained."""
    torch.manual_seed(cfg.seed)
    network = build(cfg, "model")
    if cfg.branches:
        add_branches(network)
    if cfg.initial_weights == "xavier":
        for layer in network.modules():
            for name, weight in layer.named_parameters(recurse=False):
                if name == "bias":
                    nn.init.zeros_(weight)
                elif weight.dim() > 1 and not isinstance(layer, nn.LayerNorm):  # others are norms
                    nn.init.xavier_uniform_(weight)
    return network


def check_recipe(cfg: DictConfig) -> None:
    """Raise UserError for values of the recipe that are refused, some of them in a first step."""
    build(cfg, "augmentation")
    build(cfg, "loss")
    part = "branches"
    try:
        if cfg.branches:
            with torch.device("meta"):
                add_branches(build(cfg, "model"))
        part = "optimizer"
        optimizer = build(cfg, part)([nn.Parameter(torch.zeros(1))])
        optimizer.step()
        part = "scheduler"
        if make := build(cfg, part):
            scheduler = make_schedule(make, optimizer, batches=10)
            optimizer.step()
            scheduler.step()
    except (ValueError, TypeError, ArithmeticError) as error:
        raise UserError(f"{part}: {error}") from error
