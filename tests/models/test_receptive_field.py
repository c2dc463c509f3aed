import pytest
import torch
from torch import nn

from models.networks.ladder import LadderNet
from models.receptive_field import receptive_field


def test_published_fields_of_the_ladder_layer_by_layer():
    layers = [
        m for m in LadderNet([4] * 5) if isinstance(m, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d)
    ]
    fields = [receptive_field(layers[: i + 1], 28) for i in range(len(layers))]
    assert fields == [3, 5, 6, 10, 14, 16, 24, 32, 40]


def test_a_linear_layer_sees_the_whole_image():
    assert receptive_field([nn.Conv2d(1, 1, 3), nn.Flatten(), nn.Linear(676, 10)], 28) == 28


@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (1, 2), (3, 2)])
def test_it_is_the_reach_of_the_gradient(stride, dilation):
    layers = [nn.Conv2d(1, 1, 3, stride, dilation=dilation), nn.Conv2d(1, 1, 3), nn.AvgPool2d(2)]
    network = nn.Sequential(*layers)
    for parameter in network.parameters():
        nn.init.ones_(parameter)
    image = torch.ones(1, 1, 40, 40, requires_grad=True)
    network(image)[0, 0, 1, 1].backward()
    touched = image.grad[0, 0].any(0).nonzero()
    assert receptive_field(layers, 40) == touched.max() - touched.min() + 1
