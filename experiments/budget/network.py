"""The network that a configuration describes: built from checked values, within its budget."""

import torch
from omegaconf import DictConfig, ListConfig
from torch import nn

from experiments.budget.cost import Cost, check, compute_cost
from experiments.cli.config import build, require_int, require_number
from experiments.cli.errors import UserError
from models.schedules import make_schedule

SMALLEST = {
    "seed": 0,
    "data.batch_size": 1,
    "data.eval_batch_size": 1,
    "data.num_classes": 1,
    "data.in_channels": 1,
    "data.image_size": 1,
    "trainer.max_epochs": 1,
}


def prepare(cfgs: list[DictConfig]) -> tuple[list[nn.Module], Cost]:
    """The network of each run, and the cost of each; nothing is read or written.

    Args:
        cfgs: of one architecture.

    Raises:
        UserError: a value is out of range, or the network is over its budget.
    """
    network, cost = design(cfgs[0])
    check(cost, cfgs[0])
    networks = [network, *map(build_network, cfgs[1:])]
    for cfg in cfgs:
        rehearse(cfg)
    return networks, cost


def design(cfg: DictConfig) -> tuple[nn.Module, Cost]:
    """The network with its initial weights, and its cost.

    Raises:
        UserError: a value is out of range; it is named.
    """
    network = build_network(cfg)
    return network, compute_cost(network, cfg.data)


def build_network(cfg: DictConfig) -> nn.Module:
    """The network with its initial weights, which follow from `cfg.seed`.

    Raises:
        UserError: a value is out of range; it is named.
    """
    check_values(cfg)
    torch.manual_seed(cfg.seed)
    return build(cfg, "model")


def check_values(cfg: DictConfig) -> None:
    """Raises UserError where a value is out of range."""
    for key, minimum in SMALLEST.items():
        require_int(cfg, key, minimum)
    require_number(cfg, "data.std", above=0)
    if cfg.target.val_acc is not None:
        require_number(cfg, "target.val_acc", above=0, to=1)
    if cfg.compile not in ("auto", True, False):
        raise UserError(f"compile must be auto, true or false, not {cfg.compile}")
    classes, shuffle = cfg.data.classes, cfg.data.shuffle
    if classes is not None and not (
        isinstance(classes, ListConfig) and all(type(i) is int and i >= 0 for i in classes)
    ):
        raise UserError(f"data.classes must be a list of labels, such as [0,5], not {classes}")
    if shuffle not in (None, True, False):
        raise UserError(f"data.shuffle must be true or false, not {shuffle}")


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
