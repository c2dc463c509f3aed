import pytest
import torch
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import OneCycleLR, StepLR

from models.schedules import OneCycle, make_schedule, steps_every_batch


def optimizer(*rates: float) -> SGD:
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    return SGD(groups, momentum=0.9)


def test_one_cycle_rises_to_the_rate_of_each_group_and_falls_to_almost_nothing():
    descent = optimizer(0.1, 0.02)
    schedule = make_schedule(OneCycle, descent, batches=100)
    rates = []
    for _ in range(100):
        rates.append(schedule.get_last_lr())
        descent.step()
        schedule.step() if len(rates) < 100 else None
    first, second = zip(*rates, strict=True)
    assert max(first) == pytest.approx(0.1)
    assert first.index(max(first)) == 29  # three tenths of the way
    assert first[-1] < 1e-5
    assert [a / b for a, b in rates] == pytest.approx([5.0] * 100)
    assert second[0] == pytest.approx(0.02 / 25)


def test_a_schedule_for_so_many_batches_moves_with_each():
    assert steps_every_batch(OneCycle)
    assert steps_every_batch(OneCycleLR)
    assert not steps_every_batch(StepLR)
    assert not steps_every_batch(None)
