import pytest
import torch
from torch import nn

from models.networks.mlp import MLP


def test_layers_come_in_the_order_of_the_book():
    kinds = [type(layer).__name__ for layer in MLP([8, 4], dropout=0.2)]
    hidden = ["Linear", "ReLU", "Dropout"]
    assert kinds == ["Flatten", *hidden, *hidden, "Linear"]
    assert MLP([8, 4])(torch.rand(3, 1, 28, 28)).shape == (3, 10)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("relu", nn.ReLU), ("sigmoid", nn.Sigmoid), ("tanh", nn.Tanh), ("softmax", nn.Softmax)],
)
def test_activations_are_chosen_by_name(name, expected):
    network = MLP([8], activation=name, output=name)
    assert [type(layer) for layer in network if not isinstance(layer, nn.Linear | nn.Flatten)] == [
        expected,
        expected,
    ]


def test_softmax_is_over_the_classes():
    outputs = MLP([8], output="softmax")(torch.rand(3, 1, 28, 28))
    assert torch.allclose(outputs.sum(1), torch.ones(3))


def test_initial_weights_are_uniform():
    torch.manual_seed(0)
    for parameter in MLP([256, 128], uniform=0.5).parameters():
        assert parameter.abs().max() <= 0.5
    weight = MLP([256, 128], uniform=0.5)[1].weight
    assert weight.std().item() == pytest.approx(0.5 / 3**0.5, rel=0.01)
    assert MLP([256])[1].weight.abs().max() < 0.04  # as PyTorch draws them


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"widths": [0]}, r"widths\.0\n.*greater than or equal to 1"),
        ({"widths": [8.5]}, r"widths\.0\n.*a valid integer"),
        ({"activation": "swoosh"}, r"activation\n.*'relu', 'sigmoid', 'tanh' or 'softmax'"),
        ({"activation": None}, r"activation\n.*'relu', "),
        ({"output": "swoosh"}, r"output\n.*'relu', "),
        ({"dropout": 1}, r"dropout\n.*less than 1"),
        ({"uniform": 0}, r"uniform\n.*greater than 0"),
    ],
)
def test_invalid_arguments_are_refused(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        MLP(**{"widths": [8], **options})
