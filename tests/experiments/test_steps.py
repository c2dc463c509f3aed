"""The 13 published steps say what was published, and little else."""

import statistics
from functools import partial

import conftest
import pytest
from conftest import own_conf

from experiments.budget.cost import cost_of

# widths, parameters, dropout, degrees, batch, rate, StepLR, epochs, published train, best, last
LADDER = {
    1: ("32-32-32-32-32", 40202, 0, None, 128, 0.010, None, 19, 99.58, 99.23, 99.17),
    2: ("14-14-14-14-14", 8442, 0, None, 128, 0.010, None, 14, 98.96, 98.90, 98.90),
    3: ("14-14-14-14-14", 8582, 0.1, None, 128, 0.010, None, 14, 98.69, 99.35, 99.13),
    4: ("14-14-14-14-14", 8582, 0.1, 7, 128, 0.010, None, 14, 98.50, 99.37, 99.37),
    5: ("14-14-14-14-14", 8582, 0.1, 7, 128, 0.010, 6, 14, 98.39, 99.25, 99.23),
    6: ("14-14-14-14-14", 8582, 0.069, 7, 128, 0.010, 6, 14, 98.68, 99.40, 99.30),
    7: ("14-14-14-14-14", 8582, 0.069, 5, 64, 0.010, 6, 14, 99.00, 99.42, 99.42),
    8: ("14-14-14-14-14", 8582, 0.069, 5, 64, 0.015, 6, 14, 99.04, 99.44, 99.44),
    9: ("12-12-14-14-14", 7836, 0.069, 5, 64, 0.019, 6, 14, 99.04, 99.42, 99.36),
    10: ("10-10-12-12-12", 5854, 0.069, 5, 64, 0.019, 7, 14, 98.91, 99.38, 99.38),
    11: ("10-12-12-12-12", 6254, 0.069, 5, 64, 0.019, 7, 14, 98.86, 99.45, 99.43),
    12: ("10-11-12-12-12", 6054, 0.069, 5, 64, 0.019, 7, 14, 98.92, 99.40, 99.35),
    13: ("10-10-12-12-12", 5854, 0.069, 5, 64, 0.019, 7, 14, 98.88, 99.40, 99.35),
}


configure = partial(conftest.configure, "train")


@pytest.mark.parametrize("number", LADDER)
def test_step_is_the_published_recipe(number):
    widths, parameters, dropout, degrees, batch, rate, decay, epochs, *published = LADDER[number]
    cfg = configure(f"step=s{number:02}")
    assert "-".join(map(str, cfg.model.widths)) == widths
    assert cfg.model.bias == (number == 1)
    assert cfg.model.batch_norm == (number >= 3)
    assert cfg.model.dropout == dropout
    assert (cfg.augmentation and cfg.augmentation.degrees) == degrees
    assert cfg.data.batch_size == batch
    assert cfg.optimizer._target_ == "torch.optim.SGD"
    assert (cfg.optimizer.lr, cfg.optimizer.momentum) == (rate, 0.9)
    assert (cfg.optimizer.weight_decay, cfg.optimizer.nesterov) == (0, False)
    assert (cfg.scheduler and (cfg.scheduler.step_size, cfg.scheduler.gamma)) == (
        decay and (decay, 0.1)
    )
    assert cfg.trainer.max_epochs == epochs
    figures = cfg.published
    assert (figures.step, figures.parameters) == (f"s{number:02}", parameters)
    accuracies = (figures.train_acc, figures.best_val_acc, figures.last_val_acc)
    assert accuracies == tuple(round(percent / 100, 4) for percent in published)
    cost = cost_of(cfg)
    assert cost.parameters == parameters
    assert cost.receptive_field == 40
    assert cfg.budget.parameters is None or cost.parameters <= cfg.budget.parameters


def test_step_files_are_deltas():
    lines = [len(p.read_text().splitlines()) for p in (own_conf() / "step").glob("*.yaml")]
    assert statistics.median(lines) <= 20
