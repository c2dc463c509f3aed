"""The network that a configuration describes: built from checked values, within its budget."""

import torch
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import nn

from experiments.budget.cost import Cost, check, compute_cost
from experiments.cli.config import build, require_int, require_number
from experiments.cli.errors import UserError
from models.schedules import make_schedule

SIZES = ("batch_size", "eval_batch_size", "num_classes", "in_channels", "image_size")
CHOICES = {"compile": ("auto", True, False), "data.shuffle": (None, True, False)}


def prepare(cfgs: list[DictConfig]) -> tuple[list[nn.Module], Cost]:
    """The network of each run, and the cost of each; nothing is read or written.

    Args:
        cfgs: of one architecture.

    Raises:
        UserError: a value is out of range, or the network is over its budget.
    """
    network, cost = design(cfgs[0])
    check(cost, cfgs[0])
    for cfg in cfgs:
        rehearse(cfg)
    return [network, *map(_build_network, cfgs[1:])], cost


def design(cfg: DictConfig) -> tuple[nn.Module, Cost]:
    """The network with its initial weights, and its cost; UserError for a value out of range."""
    network = _build_network(cfg)
    return network, compute_cost(network, cfg.data)


def _build_network(cfg: DictConfig) -> nn.Module:
    require_int(cfg, "seed", 0)
    limits = [f"budget.{name}" for name, limit in cfg.budget.items() if limit is not None]
    for key in ("trainer.max_epochs", *(f"data.{size}" for size in SIZES), *limits):
        require_int(cfg, key, 1)
    require_number(cfg, "data.std", above=0)
    if cfg.target.val_acc is not None:
        require_number(cfg, "target.val_acc", above=0, to=1)
    for key, choices in CHOICES.items():
        if (value := OmegaConf.select(cfg, key)) not in choices:
            raise UserError(f"{key} must be one of {', '.join(map(str, choices))}, not {value}")
    classes = cfg.data.classes
    if classes is not None and not (
        isinstance(classes, ListConfig) and all(type(i) is int and i >= 0 for i in classes)
    ):
        raise UserError(f"data.classes must be a list of labels, such as [0,5], not {classes}")
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
