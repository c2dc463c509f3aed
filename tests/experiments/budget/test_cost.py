import pytest
from omegaconf import DictConfig, OmegaConf
from torch import nn

from experiments.budget.cost import check, compute_cost
from experiments.cli.errors import UserError
from models.networks.ladder import LadderNet

MNIST = OmegaConf.create({"in_channels": 1, "image_size": 28})


def limits(**budget: int) -> DictConfig:
    none = {"parameters": None, "mult_adds": None, "bytes": None}
    return OmegaConf.create({"budget": none | budget})


def test_cost_of_step_13():
    cost = compute_cost(LadderNet([10, 10, 12, 12, 12]), MNIST)
    assert cost.parameters == 5_854
    # multiply-adds of the convolutions; torchinfo adds one a parameter for BatchNorm
    convolutions = 784 * (90 + 900) + 196 * (1080 + 1296) + 25 * 1296 + 9 * 1080
    assert cost.mult_adds == convolutions + 2 * (10 + 10 + 12 + 12 + 12)
    # 4 bytes a parameter; BatchNorm keeps two statistics a channel and a count of 8 bytes
    assert cost.bytes == 4 * (5_854 + 2 * 56) + 5 * 8
    assert "LadderNet" in cost.summary


@pytest.mark.parametrize("name", ["parameters", "mult_adds", "bytes"])
def test_each_limit_holds_at_the_count_and_not_one_below(name):
    cost = compute_cost(LadderNet([32] * 5, bias=True, batch_norm=False), MNIST)
    count = getattr(cost, name)
    check(cost, limits())
    check(cost, limits(**{name: count}))
    with pytest.raises(UserError, match=rf"{count:,} {name}, budget\.{name} allows .* 1 too many"):
        check(cost, limits(**{name: count - 1}))


def test_the_largest_layers_are_named():
    cost = compute_cost(LadderNet([8, 64, 8], bias=True, batch_norm=False), MNIST)
    with pytest.raises(UserError, match=r"largest layers: conv2 \(Conv2d\) 4,672, conv3"):
        check(cost, limits(parameters=100))


def test_a_network_that_does_not_take_the_image_is_the_users_mistake():
    with pytest.raises(UserError, match="does not take an image"):
        compute_cost(nn.Sequential(nn.Flatten(), nn.Linear(100, 10)), MNIST)
