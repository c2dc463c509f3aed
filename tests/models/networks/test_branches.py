"""Convolutions that are trained as branches and folded."""

import pytest
import torch
from conftest import configure, quick
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

from experiments.budget.network import build_network, build_networks
from experiments.cli.errors import UserError
from experiments.data.images import load
from experiments.tracking.store import Store
from experiments.tracking.trained_network import load_network
from models.networks.branches import add_branches, fold

BLOCKS = "model.blocks=[plain,separable,bottleneck,residual,squeeze]"


@pytest.mark.parametrize(
    "overrides",
    [["step=s13"], ["step=s14"], ["model=blocks", BLOCKS, "model.widths=[8,8,8,12,12]"]],
    ids=["plain", "shared", "blocks"],
)
def test_a_folded_network_computes_what_its_branches_did(overrides):
    images = torch.rand(4, 1, 28, 28)
    cfg = configure("train", *overrides, "branches=true")
    network, plain = build_network(cfg), build_network(configure("train", *overrides))
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
        trained = network.eval()(images)
        fold(network)
        assert torch.equal(network(images), trained)
    assert list(network.state_dict()) == list(plain.state_dict())
    [_], cost = build_networks([cfg])
    assert cost.parameters == sum(weight.numel() for weight in plain.parameters())


@pytest.mark.parametrize(("inputs", "outputs", "groups"), [(4, 4, 1), (4, 4, 2), (6, 6, 6)])
def test_branches_begin_as_kernel_and_pointwise_and_identity(inputs, outputs, groups):
    layer = nn.Conv2d(inputs, outputs, 3, padding=1, groups=groups, bias=False)
    kernel = layer.weight.detach().clone()
    add_branches(layer)
    [branches] = layer.parametrizations.weight
    x = torch.rand(2, inputs, 5, 5)
    expected = nn.functional.conv2d(x, kernel, padding=1, groups=groups) + x
    expected += nn.functional.conv2d(x, branches.pointwise[..., None, None], groups=groups)
    assert torch.allclose(layer(x), expected, atol=1e-6)


def test_a_network_that_has_no_branches_to_train_is_refused():
    tied = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3))
    tied[1].weight = tied[0].weight
    computed = nn.Sequential(nn.Conv2d(4, 4, 3), weight_norm(nn.Conv2d(4, 4, 3)))
    for network in (tied, computed):
        with pytest.raises(ValueError, match="weights of their own"):
            add_branches(network)
    for overrides in (["model=mlp"], ["model=blocks", "model.kernels=1", "model.head=1"]):
        with pytest.raises(UserError, match="branches: they need convolutions with a square"):
            build_networks([configure("train", *overrides, "branches=true")])


def test_what_others_compute_of_a_layer_is_not_folded():
    network = nn.Sequential(weight_norm(nn.Linear(2, 2), "bias", dim=None))
    assert parametrize.is_parametrized(fold(network)[0], "bias")


@pytest.mark.parametrize("seeds", ["seed=0", "fused.seed=2"])
def test_a_run_trains_branches_and_keeps_the_folded_network(workplace, small, seeds):
    arguments = quick(small, seeds, "branches=true", "compile=false", "trainer.max_epochs=1")
    result = workplace.run("train", *arguments)
    assert result.returncode == 0, result.stderr
    cfg = configure("train", *arguments, *workplace.places)
    judged, store = load(cfg)[0].val, Store(cfg.tracking)
    for run in workplace.seeds():
        assert run.data.metrics["parameters"] == 5854
        network = load_network(store, run)
        right = network(judged.images).argmax(1) == judged.labels
        assert right.float().mean().item() == pytest.approx(run.data.metrics["val/acc"])
