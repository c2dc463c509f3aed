"""The network that a configuration describes, from sound values and with its cost."""

from typing import Any

import torch
from omegaconf import DictConfig, ListConfig
from torch import nn

from experiments.budget.cost import Cost, measure
from experiments.cli.config import build, require_int, require_number
from experiments.cli.errors import UserError
from models.schedules import make_schedule

WHOLE = {
    "seed": 0,
    "data.batch_size": 1,
    "data.eval_batch_size": 1,
    "data.num_classes": 1,
    "data.in_channels": 1,
    "data.image_size": 1,
    "trainer.max_epochs": 1,
}


def design(cfg: DictConfig) -> tuple[nn.Module, Cost]:
    """The network with its initial weights, and what it costs; nothing is read or written.

    Raises:
        UserError: a value is out of range; it is named.
    """
    for key, minimum in WHOLE.items():
        require_int(cfg, key, minimum)
    require_number(cfg, "data.std", above=0)
    if cfg.compile not in ("auto", True, False):
        raise UserError(f"compile must be auto, true or false, not {cfg.compile}")
    classes, shuffle = cfg.data.classes, cfg.data.shuffle
    if classes is not None and not (isinstance(classes, ListConfig) and all(map(_whole, classes))):
        raise UserError(f"data.classes must be a list of labels, such as [0,5], not {classes}")
    if shuffle not in (None, True, False):
        raise UserError(f"data.shuffle must be true or false, not {shuffle}")
    if cfg.target.val_acc is not None:
        require_number(cfg, "target.val_acc", above=0, to=1)
    torch.manual_seed(cfg.seed)
    network = build(cfg, "model")
    return network, measure(network, cfg.data)


def _whole(value: Any) -> bool:
    return type(value) is int and value >= 0


def rehearse(cfg: DictConfig) -> None:
    """Step the optimizer and its schedule once, to learn now of values that they refuse.

    Raises:
        UserError: the augmentation, the loss, the optimizer or the scheduler refuses a value.
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
