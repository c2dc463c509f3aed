"""What a configuration makes of Lightning's module."""

from functools import partial

import conftest
import pytest
import torch
from torch import nn

from experiments.budget.network import build_network
from experiments.cli.errors import UserError
from experiments.data.images import Images
from experiments.training.module import fuse, make_module, worth_compiling
from models.losses import SquaredError

configure = partial(conftest.configure, "train")


def test_small_networks_are_not_compiled():
    assert not worth_compiling(configure("experiment=scratch_mlp", "data.batch_size=1"), 60_000)


def test_the_loss_is_the_configuration_s():
    cfg = configure("experiment=scratch_mlp")
    module = make_module(cfg, build_network(cfg), 100)
    assert isinstance(module.learn.loss, SquaredError)
    images, labels = torch.zeros(2, 1, 28, 28, dtype=torch.uint8), torch.tensor([1, 2])
    loss, _ = module.learn.evaluate(*Images(images, labels))
    expected = SquaredError()(module.learn.outputs(images), labels)
    assert torch.allclose(loss, expected)


def test_layers_that_share_a_weight_are_not_fused():
    cfg = configure("step=s14", "compile=false")
    shared, device = build_network(cfg), torch.device("cpu")  # one layer, used twice
    assert fuse([cfg], [shared], 100, device)
    tied = nn.Sequential(nn.Flatten(), nn.Linear(784, 784), nn.Linear(784, 784))
    tied[2].weight = tied[1].weight
    with pytest.raises(UserError, match="fused: two layers of the network share a weight; train"):
        fuse([cfg], [tied], 100, device)
