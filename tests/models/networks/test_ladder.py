import pytest
import torch
from torch import nn

from models.networks.ladder import LadderNet


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("widths", "options", "parameters"),
    [
        ([32] * 5, {"bias": True, "batch_norm": False}, 40_202),
        ([14] * 5, {"batch_norm": False}, 8_442),
        ([14] * 5, {}, 8_582),
        ([12, 12, 14, 14, 14], {}, 7_836),
        ([10, 10, 12, 12, 12], {"dropout": 0.069}, 5_854),
    ],
)
def test_parameters_equal_the_published_counts(widths, options, parameters):
    assert count(LadderNet(widths, **options)) == parameters


def test_layers_follow_each_other_as_published():
    network = LadderNet([10, 10, 12, 12, 12], dropout=0.069)
    kinds = "".join(type(layer).__name__[0] for layer in network)
    # Conv ReLU BatchNorm Dropout, MaxPool, Conv, AvgPool, Flatten
    assert kinds == "CRBD CRBDM CRBD CRBDM CRBD CAF".replace(" ", "")
    assert all(layer.bias is None for layer in network if isinstance(layer, nn.Conv2d))


@pytest.mark.parametrize("global_average_pool", [True, False])
@pytest.mark.parametrize("widths", [[4], [4, 4], [4] * 5, [4] * 6])
def test_any_fitting_widths_give_one_logit_a_class(widths, global_average_pool):
    network = LadderNet(widths, global_average_pool=global_average_pool, num_classes=7)
    assert network(torch.rand(3, 1, 28, 28)).shape == (3, 7)


def test_without_global_average_pool_it_is_a_linear_layer_over_the_map():
    pooled = LadderNet([14] * 5)
    dense = LadderNet([14] * 5, global_average_pool=False)
    assert count(dense) - count(pooled) == 10 * (10 * 3 * 3)


@pytest.mark.parametrize(
    ("widths", "options", "complaint"),
    [
        ([], {}, "at least 1 item"),
        ([10, -1], {}, r"1\.1\n.*greater than or equal to 1"),
        ([10, 2.5], {}, r"1\.1\n.*a valid integer"),
        ([10] * 7, {}, "7 widths do not fit an image of 28x28"),
        ([10] * 5, {"image_size": 8}, "do not fit an image of 8x8"),
        ([10], {"dropout": 1.5}, r"dropout\n.*less than 1"),
        ([10], {"dropout": -0.1}, r"dropout\n.*greater than or equal to 0"),
    ],
)
def test_invalid_arguments_are_refused(widths, options, complaint):
    with pytest.raises(ValueError, match=complaint):
        LadderNet(widths, **options)
