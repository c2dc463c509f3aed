"""Learning rate schedules that step with each batch."""

import inspect
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

MakeSchedule = Callable[..., LRScheduler]


class OneCycle(OneCycleLR):
    """torch's OneCycleLR, with the optimizer's own rates as its peaks.

    Smith and Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning
    Rates", 2018. `total_steps`: batches of the whole training.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, **options: Any) -> None:
        peaks = [group["lr"] for group in optimizer.param_groups]
        super().__init__(optimizer, peaks, total_steps=total_steps, **options)


def steps_every_batch(make: MakeSchedule | None) -> bool:
    """Whether a schedule steps with each batch: those that take `total_steps` do."""
    return make is not None and "total_steps" in inspect.signature(make).parameters


def make_schedule(make: MakeSchedule, optimizer: Optimizer, batches: int) -> LRScheduler:
    """The schedule of a training of so many batches."""
    if steps_every_batch(make):
        return make(optimizer, total_steps=batches)
    return make(optimizer)
