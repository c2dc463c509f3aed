"""The neighbours of the ladder say what was published, and are configurations alone."""

from functools import partial

import conftest
import pytest
import torch
from conftest import own_conf
from torch import nn

from experiments.budget.cost import cost_of
from experiments.budget.network import build_network, build_networks, check_recipe
from experiments.cli.config import build
from experiments.cli.errors import UserError
from experiments.data.images import Images, load
from experiments.tracking.identity import config_hash
from experiments.training.module import make_module
from experiments.training.trainer import device_of

configure = partial(conftest.configure, "train")


def layers(network: nn.Module) -> str:
    """The leaves in order, with what tells them apart."""
    words = []
    for layer in network:
        match layer:
            case nn.Conv2d():
                sides = f"{layer.kernel_size[0]}+{layer.padding[0]}"
                words.append(f"conv{sides}({layer.in_channels},{layer.out_channels})")
            case nn.Linear():
                words.append(f"linear({layer.in_features},{layer.out_features})")
            case nn.Dropout():
                words.append(f"dropout({layer.p})")
            case _:
                words.append(type(layer).__name__)
    return " ".join(words)


NETWORKS = {
    "zero_vs_five": "conv5+2(1,16) ReLU MaxPool2d conv5+2(16,32) ReLU MaxPool2d Flatten "
    "linear(1568,120) ReLU linear(120,84) ReLU linear(84,10)",
    "scratch_mlp": "Flatten linear(784,256) Sigmoid linear(256,128) Sigmoid linear(128,10) Sigmoid",
    "kaggle_digits": "conv3+1(3,16) ReLU MaxPool2d conv3+1(16,64) ReLU MaxPool2d "
    "conv5+0(64,128) ReLU Flatten dropout(0.2) linear(1152,512) ReLU dropout(0.1) "
    "linear(512,128) linear(128,10)",
    "dropout_mlp": "Flatten linear(784,512) ReLU dropout(0.2) linear(512,512) ReLU dropout(0.2) "
    "linear(512,10)",
}
RECIPES = {  # optimizer, rate, momentum, batch, epochs, mean, std
    "zero_vs_five": ("Adam", 1e-3, None, 4, 8, 0.5, 0.5),
    "scratch_mlp": ("SGD", 1e-4, 0, 100, 200, 0, 1),
    "kaggle_digits": ("Adam", 1e-3, None, 64, 5, 0, 1),
    "dropout_mlp": ("SGD", 0.05, 0, 16, 1, 0, 1),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_an_experiment_is_the_published_one(name):
    cfg = configure(f"experiment={name}")
    network = build_network(cfg)
    assert layers(network) == NETWORKS[name]
    optimizer, rate, momentum, batch, epochs, mean, std = RECIPES[name]
    assert cfg.optimizer._target_ == f"torch.optim.{optimizer}"
    assert (cfg.optimizer.lr, cfg.optimizer.get("momentum")) == (rate, momentum)
    assert (cfg.data.batch_size, cfg.trainer.max_epochs) == (batch, epochs)
    assert (cfg.data.mean, cfg.data.std) == (mean, std)
    assert cfg.augmentation is None


def test_woolly_is_the_published_one():
    cfg = configure("experiment=woolly")
    network, cost = build_networks([cfg])
    assert cost.parameters == cfg.published.parameters == 3762
    bound = (6 / (9 * (4 + 8))) ** 0.5  # of Glorot and Bengio, for the fourth convolution
    assert 0.9 * bound < network[0][11].weight.abs().max() <= bound
    optimizer = build(cfg, "optimizer")(network[0].parameters())
    schedule, rates = build(cfg, "scheduler")(optimizer), []
    for _ in range(cfg.trainer.max_epochs):
        rates += schedule.get_last_lr()
        optimizer.step()
        schedule.step()
    assert [round(rate, 4) for rate in rates[:3]] == [0.05, 0.075, 0.1]
    assert (round(rates[8], 4), round(rates[14], 4)) == (0.01, 0.0017)
    images = torch.rand(64, 1, 28, 28) * 255
    assert build(cfg, "augmentation")(images).shape == images.shape


@pytest.mark.parametrize("path", sorted((own_conf() / "experiment").glob("*.yaml")))
def test_every_experiment_can_start(path):
    cfg = configure(f"experiment={path.stem}")
    check_recipe(cfg)
    assert device_of(cfg).type == "cpu"
    assert cfg.description
    with torch.device("meta"):
        assert isinstance(build(cfg, "model"), nn.Module)


def test_the_rows_of_the_competition_s_ablation_are_overrides():
    cfg = configure("experiment=kaggle_digits", "augmentation=blur", "model.batch_norm=true")
    assert layers(build_network(cfg)).count("BatchNorm2d ReLU") == 3
    images = torch.randint(256, (4, 3, 28, 28)).float()
    augmented = build(cfg, "augmentation")(images)
    assert augmented.shape == images.shape
    assert (augmented - images).abs().mean() > 10


def test_vgg16_is_vgg16_and_its_budget_stops_it():
    cfg = configure("experiment=kaggle_vgg16")
    assert cost_of(cfg).parameters == 134_301_514  # torchvision's, with ten classes
    with pytest.raises(UserError, match=r"over budget: 15,466,209,280 mult_adds, .* 100,000,000"):
        build_networks([cfg])


def test_every_point_of_the_table_is_an_experiment_of_its_own():
    few, many = (configure("experiment=zero_vs_five", f"point=[1e-3,{n}]") for n in (2, 4))
    assert (few.optimizer.lr, few.trainer.max_epochs) == (1e-3, 2)
    assert config_hash(few) != config_hash(many)
    same = configure("experiment=zero_vs_five", "optimizer.lr=1e-3", "trainer.max_epochs=2")
    assert config_hash(same) == config_hash(few)
    assert few.point == [1e-3, 2]


def trained(small, batch_size: int, gradient: str = "sum", rate: float = 1e-4) -> torch.Tensor:
    """All weights of scratch_mlp after 500 images, by the parts that train it."""
    cfg = configure(
        "experiment=scratch_mlp",
        "data=idx",
        f"data.root={small}",
        f"data.batch_size={batch_size}",
        f"loss.gradient={gradient}",
        f"optimizer.lr={rate}",
        "data.shuffle=false",
    )
    network = build_network(cfg)
    data, _ = load(cfg)
    data.train = Images(*(part[:500] for part in data.train))
    module = make_module(cfg, network, 500)
    optimizer = module.configure_optimizers()
    for batch in data.train_dataloader():
        optimizer.zero_grad()
        module.learn(*batch)[0].backward()
        optimizer.step()
    return nn.utils.parameters_to_vector(network.parameters()).detach()


@pytest.mark.slow
def test_batches_of_a_hundred_follow_the_path_of_single_images(small):
    start = nn.utils.parameters_to_vector(
        build_network(configure("experiment=scratch_mlp")).parameters()
    ).detach()
    one = trained(small, 1) - start
    hundred = trained(small, 100) - start
    assert one.norm() > 0.05
    assert (hundred - one).norm() < 0.05 * one.norm()
    # it is the sum that does it, and the small rate
    assert (trained(small, 100, "mean") - start).norm() < 0.01 * one.norm()
    quick = [trained(small, size, rate=1e-2) - start for size in (1, 100)]
    assert (quick[1] - quick[0]).norm() > 0.2 * quick[0].norm()
