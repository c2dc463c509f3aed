"""Blocks: their parameter counts, shapes and receptive fields."""

from functools import partial

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from experiments.budget.cost import compute_cost
from models.networks.blocknet import BlockNet
from models.networks.blocks import BLOCKS
from models.receptive_field import receptive_field

MNIST = OmegaConf.create({"in_channels": 1, "image_size": 28})
A, B = 6, 8  # channels in and out


def act_norm(width: int) -> list[nn.Module]:
    return [nn.ReLU()]


def conv(kernel: int, padding: int) -> partial[nn.Conv2d]:
    return partial(nn.Conv2d, kernel_size=kernel, padding=padding, bias=False)


def count(modules: list[nn.Module]) -> int:
    return sum(weight.numel() for weight in nn.ModuleList(modules).parameters())


@pytest.mark.parametrize(
    ("kind", "parameters", "same_width"),
    [
        ("plain", A * B * 9, B * B * 9),
        ("separable", A * 9 + A * B, B * 9 + B * B),
        ("bottleneck", A * 4 + 4 * 4 * 9 + 4 * B, B * 4 + 4 * 4 * 9 + 4 * B),
        ("shared", A * B + B * B * 9, B * B * 9),
        ("residual", A * B * 9 + A * B, B * B * 9),
        ("squeeze", A * B * 9 + B * 2 + 2 + 2 * B + B, B * B * 9 + B * 2 + 2 + 2 * B + B),
    ],
)
def test_a_block_has_the_parameters_that_its_formula_says(kind, parameters, same_width):
    assert count(BLOCKS[kind](A, B, conv(3, 1), act_norm)) == parameters
    assert count(BLOCKS[kind](B, B, conv(3, 1), act_norm)) == same_width


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("kind", BLOCKS)
def test_padding_keeps_the_size_and_none_shrinks_it(kind, kernel):
    images = torch.rand(2, A, 12, 12)
    kept = nn.Sequential(*BLOCKS[kind](A, B, conv(kernel, kernel // 2), act_norm))
    assert kept(images).shape == (2, B, 12, 12)
    shrunk = nn.Sequential(*BLOCKS[kind](A, B, conv(kernel, 0), act_norm))
    side = 12 - (kernel - 1) * (2 if kind == "shared" else 1)
    assert shrunk(images).shape == (2, B, side, side)


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("kind", BLOCKS)
def test_the_receptive_field_is_the_reach_of_the_gradient(kind, padding):
    side = 24
    block = nn.Sequential(nn.Conv2d(1, A, 3), *BLOCKS[kind](A, B, conv(3, padding), act_norm))
    for weight in block.parameters():
        nn.init.constant_(weight, 0.01)
    image = torch.ones(1, 1, side, side, requires_grad=True)
    result = block(image)
    middle = result.shape[-1] // 2
    result[0, :, middle, middle].sum().backward()
    touched = image.grad[0, 0].any(0).nonzero()
    leaves = leaf_calls(block, image)
    reach = int(touched.max() - touched.min() + 1)
    assert min(receptive_field(leaves, side), side) == reach


def leaf_calls(network: nn.Module, images: torch.Tensor) -> list[nn.Module]:
    """The leaf modules in the order in which they run, as often as they do."""
    called: list[nn.Module] = []
    handles = [
        module.register_forward_hook(lambda layer, *_: called.append(layer))
        for module in network.modules()
        if not list(module.children())
    ]
    network(images)
    for handle in handles:
        handle.remove()
    return called


@pytest.mark.parametrize("kind", BLOCKS)
def test_the_cost_of_a_network_is_what_runs(kind):
    make = partial(BlockNet, [8, 8, 12, 12, 10], blocks=kind, dropout=0.1)
    network, cost = make().eval(), compute_cost(make, MNIST)
    assert cost.parameters == sum(weight.numel() for weight in network.parameters())
    assert cost.receptive_field == receptive_field(
        leaf_calls(network, torch.rand(1, 1, 28, 28)), 28
    )


def test_shared_filters_count_once_and_are_used_twice():
    once, twice = (
        compute_cost(partial(BlockNet, [8, 8], blocks=["plain", kind], pools=[]), MNIST)
        for kind in ("plain", "shared")
    )
    assert twice.parameters - once.parameters == 2 * 8  # the second norm
    assert twice.mult_adds - once.mult_adds == 28 * 28 * 8 * 8 * 9
    assert twice.receptive_field == once.receptive_field + 2


def test_depth_takes_the_first_widths_and_lists():
    network = BlockNet([4, 5, 6, 7], depth=2, blocks=["plain", "separable", "plain", "plain"])
    alike = BlockNet([4, 5], blocks=["plain", "separable"])
    assert [repr(layer) for layer in network] == [repr(layer) for layer in alike]


def test_the_norm_comes_before_the_activation_where_that_is_wanted():
    names = [name for name, _ in BlockNet([4, 4], norm_first=True).named_children()]
    assert names[:4] == ["conv1", "batchnorm1", "relu1", "conv2"]
    without = compute_cost(partial(BlockNet, [4, 4], norm="batch_without_weights"), MNIST)
    assert compute_cost(partial(BlockNet, [4, 4]), MNIST).parameters == without.parameters + 16


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"widths": [4, 0]}, r"widths\.1\n.*greater than or equal to 1"),
        ({"depth": 3}, "depth must be from 1 to the 2 widths, not 3"),
        ({"blocks": "plane"}, r"blocks.*\n.*should be 'plain', 'separable', .*'squeeze'"),
        ({"blocks": ["plain"]}, "blocks must be one for all or one for each of 2 blocks"),
        ({"kernels": 4}, r"kernels.*\n.*an odd number"),
        ({"head": 4}, r"head\n.*an odd number"),
        ({"kernels": [3, 0]}, r"kernels.*\.1\n.*greater than or equal to 1"),
        ({"uses": 0}, r"uses\n.*greater than or equal to 1"),
        ({"dropout": 1}, r"dropout\n.*less than 1"),
        ({"dropout": "much"}, r"dropout\n.*a valid number"),
        ({"pool": "min"}, r"pool\n.*'max' or 'average'"),
        ({"activation": "step"}, r"activation\n.*'relu', "),
        ({"norm": "bath"}, r"norm\n.*'batch', 'batch_without_weights' or 'layer'"),
        (
            {"image_size": 4, "pools": [1, 2], "head": 3},
            "nothing is left .* the last convolution, of 3x3",
        ),
        (
            {"image_size": 4, "padded": 0, "kernels": 5},
            "do not fit .* 4x4: .* after block 1 of 2",
        ),
    ],
)
def test_invalid_arguments_are_refused(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        BlockNet(**{"widths": [4, 4]} | options)
