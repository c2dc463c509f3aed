"""Our kernels compared with the same network in PyTorch, in 64-bit floats."""

import copy
import os
import shutil
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.prune import random_unstructured

from models.native.kernels import NoKernels, library
from models.native.network import NativeNetwork
from models.networks.blocknet import BlockNet
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
    return with_random_norms(LadderNet(**options).train())


def with_random_norms(network: nn.Module) -> nn.Module:
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):  # a negative gain turns a maximum into a minimum
            nn.init.uniform_(layer.weight, -1, 1.5)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
    return network


@pytest.mark.parametrize(
    ("ladder", "size"),
    [("step 1", 16), ("step 2", 64), ("step 12", 64), ("narrow", 16), ("narrow", 64)],
)
def test_it_computes_what_pytorch_does(ladder, size):
    ours = network(**LADDERS[ladder])
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
    assert_same_gradients(ours, exact)
    for (name, mine), truth in zip(ours.named_buffers(), exact.named_buffers(), strict=True):
        assert torch.allclose(mine.double(), truth[1].double(), atol=1e-5), name


def assert_same_gradients(ours: nn.Module, exact: nn.Module) -> None:
    for (name, mine), truth in zip(ours.named_parameters(), exact.parameters(), strict=True):
        assert (mine.grad - truth.grad).abs().max() < 1e-4 * truth.grad.abs().max(), name


@pytest.mark.parametrize(
    ("blocks", "steps"),
    [
        (["plain", "shared", "plain", "shared", "plain"], 9),  # gradients of both uses
        (["plain", "separable", "shared", "separable", "separable"], 11),
        (["plain", "bottleneck", "bottleneck", "separable", "bottleneck"], 13),
    ],
)
@pytest.mark.parametrize("bias", [False, True])
def test_blocks_of_other_convolutions_get_the_gradients_of_pytorch(blocks, steps, bias):
    torch.manual_seed(0)
    ours = with_random_norms(
        BlockNet([8, 8, 12, 20, 10], blocks=blocks, padded=2, head=1, bias=bias)
    )
    exact = copy.deepcopy(ours).double()
    native = NativeNetwork(ours, 16, (1, 28, 28))
    assert len(native.steps) == steps
    images, labels = torch.randn(16, 1, 28, 28), torch.randint(10, (16,))
    F.cross_entropy(native(images), labels).backward()
    F.cross_entropy(exact(images.double()), labels).backward()
    assert_same_gradients(ours, exact)


class FixedDropout(nn.Module):
    """Multiplies by the factors that a step of our kernels has drawn, [blocks, channels, 16]."""

    def __init__(self, drop: torch.Tensor) -> None:
        super().__init__()
        self.factors = drop.transpose(1, 2).flatten(0, 1)[..., None, None].clone()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factors


@pytest.mark.parametrize("norm", ["behind ReLU", "ahead of ReLU", None])
def test_gradients_with_dropout_are_those_of_pytorch_with_the_same_mask(norm):
    ours = with_random_norms(
        BlockNet(
            [10, 10, 12, 12, 12],
            norm=norm and "batch",
            norm_first=norm == "ahead of ReLU",
            dropout=0.3,
        )
    )
    exact = copy.deepcopy(ours).double()
    native = NativeNetwork(ours, 32, (1, 28, 28))
    images, labels = torch.randn(32, 1, 28, 28), torch.randint(10, (32,))
    loss = F.cross_entropy(native(images), labels)
    assert len(native.steps) == 6
    for i, step in enumerate(native.steps[:-1], start=1):
        fixed = FixedDropout(step.drop)
        assert 0.1 < (fixed.factors == 0).float().mean() < 0.5
        exact.set_submodule(f"dropout{i}", fixed)
    expected = F.cross_entropy(exact(images.double()), labels)
    assert torch.isclose(loss.double(), expected, rtol=1e-5)
    loss.backward()
    expected.backward()
    assert_same_gradients(ours, exact)
    for (name, mine), truth in zip(ours.named_buffers(), exact.buffers(), strict=True):
        assert torch.allclose(mine.double(), truth.double(), atol=1e-5), name


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_results_do_not_depend_on_the_number_of_threads(set_threads):
    results = []
    for threads in (1, 2, 3):
        set_threads(threads)
        assert library().omp_get_max_threads() == threads, "the kernels have threads of their own"
        ours = network(widths=[10, 11, 12, 12, 12], dropout=0.1, bias=True)
        native = NativeNetwork(ours, 128, (1, 28, 28))
        outputs = native(torch.randn(128, 1, 28, 28))
        F.cross_entropy(outputs, torch.randint(10, (128,))).backward()
        results.append((outputs, *(p.grad for p in ours.parameters()), *ours.buffers()))
    for first, second, third in zip(*results, strict=True):
        assert torch.equal(first, second)
        assert torch.equal(first, third)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("size", [16, 64])
def test_it_evaluates_any_number_of_images(size, average, norm_first):
    options = {"norm_first": norm_first, "global_average_pool": average}
    ours = with_random_norms(BlockNet([10, 10, 12, 12, 12], dropout=0.5, **options))
    native = NativeNetwork(ours, size, (1, 28, 28))
    native(torch.randn(size, 1, 28, 28))  # leaves running statistics
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


@pytest.mark.parametrize("layer", ["conv1", "conv2", "conv4", "conv6"])  # a pool follows 2 and 4
def test_nan_in_one_filter_reaches_the_loss(layer):
    ours = network(widths=[10, 10, 12, 12, 12], batch_norm=False)
    native = NativeNetwork(ours, 16, (1, 28, 28))
    nn.init.constant_(ours.get_submodule(layer).weight[3], torch.nan)
    loss = F.cross_entropy(native(torch.randn(16, 1, 28, 28)), torch.randint(10, (16,)))
    assert loss.isnan()


@pytest.mark.parametrize("norm", [[], [nn.BatchNorm2d(4).eval()]])
def test_nan_in_a_part_of_a_window_is_what_the_max_pool_returns(norm):
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), *norm, nn.ReLU(), nn.MaxPool2d(2))
    layers.train(not norm)  # in training, each pixel of a channel would become NaN
    native = NativeNetwork(layers, 16, (1, 16, 16))
    images = torch.rand(16, 1, 16, 16)
    images[3, 0, 4, 8] = torch.nan
    images[4, 0, 5, 9] = images[5, 0, 5, 8] = images[6, 0, 4, 9] = torch.nan
    expected = layers(images)  # at its edge, a NaN is in one position of a window only
    assert expected.isnan().any()
    assert torch.allclose(native(images), expected, atol=1e-5, equal_nan=True)


def test_a_convolution_may_follow_another_one_without_relu():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 5, 3, padding=1), nn.Conv2d(5, 4, 3, padding=1), nn.Flatten()]
    ours = nn.Sequential(*layers, nn.Linear(576, 10))
    exact = copy.deepcopy(ours).double()
    native, images = NativeNetwork(ours, 16, (1, 12, 12)), torch.randn(16, 1, 12, 12)
    assert len(native.steps) == 2
    assert torch.allclose(native(images), ours(images), atol=1e-5)
    native(images).square().sum().backward()
    exact(images.double()).square().sum().backward()
    assert_same_gradients(ours, exact)


def test_the_kernels_end_ahead_of_a_pool_that_leaves_out_a_row():
    ours = BlockNet([4, 6, 8], pools=[1, 3], padded=3, image_size=30)
    native = NativeNetwork(ours, 16, (1, 30, 30))
    assert len(native.steps) == 2
    images = torch.randn(16, 1, 30, 30)
    assert torch.allclose(native(images), ours(images), atol=1e-5)


@pytest.mark.parametrize(
    ("layers", "size", "side", "complaint"),
    [
        ([nn.Flatten(), nn.Linear(784, 10)], 64, 28, "begin with a step"),
        ([nn.Conv2d(1, 4, 5)], 64, 28, "begin with a step"),
        ([nn.Conv2d(1, 4, 3, stride=2)], 64, 28, "begin with a step"),
        ([nn.Conv2d(1, 4, 3)], 50, 28, "not a multiple of 16"),
        ([nn.Conv2d(1, 4, 3).double()], 64, 28, "not of 32 bits"),
        ([nn.Conv2d(2, 4, 3).to(memory_format=torch.channels_last)], 64, 28, "not contiguous"),
        ([nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2, dilation=2)], 64, 28, "begin with"),
        ([random_unstructured(nn.Conv2d(1, 4, 3), "weight", 0.5)], 64, 28, "begin with"),
        ([nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2)], 16, 29, "begin with"),
        ([nn.Conv2d(1, 4, 3), nn.MaxPool2d(2)], 16, 28, "begin with"),
        ([nn.Conv2d(4, 4, 3, groups=2)], 16, 28, "begin with"),
        ([nn.Conv2d(2, 4, 3, groups=2)], 16, 28, "begin with"),
        ([nn.Conv2d(1, 4, 1, padding=1)], 16, 28, "begin with"),
    ],
    ids=[
        "linear",
        "5x5",
        "stride",
        "batch of 50",
        "64 bits",
        "channels last",
        "dilated pool",
        "pruned",
        "odd pool",
        "pool without ReLU",
        "two groups",
        "two filters a channel",
        "padded 1x1",
    ],
)
def test_unsupported_networks_are_refused(layers, size, side, complaint):
    with pytest.raises(ValueError, match=complaint):
        NativeNetwork(nn.Sequential(*layers), size, (1, side, side))


def test_without_a_compiler_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", "no-such-compiler")
    library.cache_clear()
    try:
        with pytest.raises(NoKernels, match="no-such-compiler"):
            NativeNetwork(network(widths=[4]), 16, (1, 28, 28))
    finally:
        library.cache_clear()
