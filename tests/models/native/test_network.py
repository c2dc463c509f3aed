"""Our kernels against the same network in PyTorch, with 64-bit floats as the judge."""

import copy
import os
import shutil

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models.native.kernels import NoKernels, library
from models.native.network import NativeNetwork
from models.networks.ladder import LadderNet

pytestmark = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="there is no C++ compiler"
)
LADDERS = {
    "step 1": {"widths": [32] * 5, "bias": True, "batch_norm": False, "global_average_pool": False},
    "step 2": {"widths": [14] * 5, "batch_norm": False},
    "step 12": {"widths": [10, 11, 12, 12, 12]},
    "narrow": {"widths": [1, 2, 3, 5, 7]},
}


def network(**options) -> LadderNet:
    torch.manual_seed(0)
    network = LadderNet(**options).train()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):  # negative gains turn a maximum round
            nn.init.uniform_(layer.weight, -1, 1.5)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
    return network


@pytest.mark.parametrize("options", LADDERS.values(), ids=LADDERS.keys())
@pytest.mark.parametrize("size", [16, 64])
def test_it_computes_what_pytorch_does(options, size):
    ours = network(**options)
    exact = copy.deepcopy(ours).double()
    native = NativeNetwork(ours, size, (1, 28, 28))
    for _ in range(2):  # what the first batch leaves in memory must not change the second
        images, labels = torch.randn(size, 1, 28, 28), torch.randint(10, (size,))
        ours.zero_grad()
        exact.zero_grad()
        loss = F.cross_entropy(native(images), labels)
        expected = F.cross_entropy(exact(images.double()), labels)
        loss.backward()
        expected.backward()
        assert torch.isclose(loss.double(), expected, rtol=1e-5)
    for (name, mine), truth in zip(ours.named_parameters(), exact.parameters(), strict=True):
        error = (mine.grad - truth.grad).abs().max() / truth.grad.abs().max()
        assert error < 1e-4, name
    for (name, mine), truth in zip(ours.named_buffers(), exact.named_buffers(), strict=True):
        assert torch.allclose(mine.double(), truth[1].double(), atol=1e-5), name


def test_it_evaluates_any_number_of_images():
    ours = network(widths=[10, 10, 12, 12, 12], dropout=0.5)
    native = NativeNetwork(ours, 64, (1, 28, 28))
    native(torch.randn(64, 1, 28, 28))  # leaves running statistics
    ours.eval()
    images = torch.randn(150, 1, 28, 28)
    with torch.inference_mode():
        assert torch.allclose(native(images), ours(images), atol=1e-5)


def test_dropout_drops_whole_channels_and_scales_the_others():
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Dropout2d(0.25)).train()
    native = NativeNetwork(layers, 64, (1, 8, 8))
    images = torch.rand(64, 1, 8, 8)
    kept = layers[1](layers[0](images))
    ratio = native(images) / kept.where(kept > 0, torch.nan)
    by_channel = ratio.flatten(2).nanmean(2)
    values = by_channel[~by_channel.isnan()]
    dropped = values == 0
    assert torch.allclose(values[~dropped], torch.tensor(4 / 3), atol=1e-3)
    assert 0.2 < dropped.float().mean() < 0.3


def test_what_is_no_number_stays_none():
    ours = network(widths=[10, 10, 12, 12, 12])
    native = NativeNetwork(ours, 16, (1, 28, 28))
    nn.init.constant_(ours.conv3.weight, torch.nan)
    assert native(torch.randn(16, 1, 28, 28)).isnan().all()


@pytest.mark.parametrize(
    ("layers", "size"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), 64),
        (nn.Sequential(nn.Conv2d(1, 4, 5)), 64),
        (nn.Sequential(nn.Conv2d(1, 4, 3, stride=2)), 64),
        (nn.Sequential(nn.Conv2d(1, 4, 3)), 50),
        (nn.Sequential(nn.Conv2d(1, 4, 3)).double(), 64),
        (nn.Sequential(nn.Conv2d(1, 4, 3, padding=0), nn.ReLU(), nn.MaxPool2d(2)), 16),
    ],
    ids=["linear", "5x5", "stride", "batch of 50", "64 bits", "odd pool"],
)
def test_other_networks_are_refused(layers, size):
    side = 29 if size == 16 else 28
    with pytest.raises(ValueError):
        NativeNetwork(layers, size, (1, side, side))


def test_without_a_compiler_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "no-such-compiler")
    library.cache_clear()
    try:
        with pytest.raises(NoKernels, match="no-such-compiler"):
            NativeNetwork(network(widths=[4]), 16, (1, 28, 28))
    finally:
        library.cache_clear()
