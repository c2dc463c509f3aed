from collections.abc import Callable
from functools import partial

import pytest
import torch
import torchinfo
from conftest import configure, own_conf
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from experiments.budget.cost import compute_cost, cost_of
from experiments.cli.config import build
from experiments.cli.errors import UserError
from models.networks.ladder import LadderNet

MNIST = OmegaConf.create({"in_channels": 1, "image_size": 28})


def limits(**budget: int) -> DictConfig:
    none = {"parameters": None, "mult_adds": None, "bytes": None}
    return OmegaConf.create(none | budget)


def test_cost_of_step_13():
    cost = compute_cost(lambda: LadderNet([10, 10, 12, 12, 12]), MNIST)
    assert cost.parameters == 5_854
    assert cost.mult_adds == 784 * (90 + 900) + 196 * (1080 + 1296) + 25 * 1296 + 9 * 1080
    # 4 bytes a parameter; BatchNorm keeps two statistics a channel and a count of 8 bytes
    assert cost.bytes == 4 * (5_854 + 2 * 56) + 5 * 8
    assert "LadderNet" in cost.summary
    without = compute_cost(lambda: LadderNet([10, 10, 12, 12, 12]), MNIST, mult_adds=False)
    assert without.metrics() | {"mult_adds": cost.mult_adds} == cost.metrics()
    assert without.mult_adds is None


@pytest.mark.parametrize("name", ["parameters", "mult_adds", "bytes"])
def test_each_limit_holds_at_the_count_and_not_one_below(name):
    make = partial(LadderNet, [32] * 5, bias=True, batch_norm=False)
    count = getattr(compute_cost(make, MNIST), name)
    compute_cost(make, MNIST, limits())
    compute_cost(make, MNIST, limits(**{name: count}))
    with pytest.raises(UserError, match=rf"{count:,} {name}, budget\.{name} allows .* 1 too many"):
        compute_cost(make, MNIST, limits(**{name: count - 1}))


def test_the_largest_layers_are_named():
    make = partial(LadderNet, [8, 64, 8], bias=True, batch_norm=False)
    with pytest.raises(UserError, match=r"largest layers: conv2 \(Conv2d\) 4,672, conv3"):
        compute_cost(make, MNIST, limits(parameters=100))


def test_a_network_that_does_not_take_the_image_is_the_users_mistake():
    with pytest.raises(UserError, match="does not take an image"):
        compute_cost(lambda: nn.Sequential(nn.Flatten(), nn.Linear(100, 10)), MNIST)


class Made(nn.Module):
    """A network of named parts, and how they work on an image [1, 1, 28, 28]."""

    def __init__(self, run: Callable[["Made", Tensor], Tensor], **parts: nn.Module | Tensor):
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, image: Tensor) -> Tensor:
        return self.run(self, image)


def weight(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(shape))


def functional() -> nn.Module:
    def run(made: Made, image: Tensor) -> Tensor:
        return F.linear(F.conv2d(image, made.filters).flatten(1), made.rows)

    return Made(run, filters=weight(32, 1, 5, 5), rows=weight(10, 32 * 24 * 24))


def attention(weights: bool = True) -> nn.Module:
    """Over the 28 rows of an image."""

    def run(made: Made, image: Tensor) -> Tensor:
        rows = made.embed(image.squeeze(1))
        return made.head(made.mix(rows, rows, rows, need_weights=weights)[0].mean(1))

    mix = nn.MultiheadAttention(32, 4, batch_first=True)
    return Made(run, embed=nn.Linear(28, 32), mix=mix, head=nn.Linear(32, 10))


def tied() -> nn.Module:
    def run(made: Made, image: Tensor) -> Tensor:
        return made.second(made.first(F.avg_pool2d(image, 7).flatten(1)))

    made = Made(run, first=nn.Linear(16, 16), second=nn.Linear(16, 16))
    made.second.weight = made.first.weight
    return made


def listed() -> nn.Module:
    weights = nn.ParameterList([weight(784, 16), weight(16, 10)])
    return Made(lambda made, image: image.flatten(1) @ made.p[0] @ made.p[1], p=weights)


def normed(norm: Callable[[nn.Module], nn.Module]) -> nn.Module:
    layers = norm(nn.Conv2d(1, 8, 3)), nn.AdaptiveAvgPool2d(1), nn.Flatten(), norm(nn.Linear(8, 10))
    return nn.Sequential(*layers)


def transposed() -> nn.Module:
    """Down to 14x14, and up again."""
    down = nn.Conv2d(1, 4, 3, stride=2, padding=1)
    return nn.Sequential(down, nn.ConvTranspose2d(4, 6, 4, stride=2, padding=1, groups=2))


def recurrent() -> nn.Module:
    """Over the 28 rows of an image."""
    return Made(lambda made, image: made.lstm(image.squeeze(1))[0], lstm=nn.LSTM(28, 16))


ATTENTION = 28 * 28 * 32 + 28 * 32 * 96 + 2 * 28 * 28 * 32 + 28 * 32 * 32 + 32 * 10
ATTENTION_WEIGHTS = 28 * 32 + 32 + 32 * 96 + 96 + 32 * 32 + 32 + 32 * 10 + 10
NORMED = 26 * 26 * 8 * 9 + 8 * 10
NORMED_WEIGHTS = 8 * 9 + 8 + 8 + 8 * 10 + 10 + 10  # a length for each filter


def bilinear(made: Made, image: Tensor) -> Tensor:
    hidden = made.first(image.flatten(1))
    return made.last(hidden, hidden)


def vectors(made: Made, image: Tensor) -> Tensor:
    pixels = image.flatten()
    return made.last @ pixels + torch.dot(pixels, pixels)


@pytest.mark.parametrize(
    ("make", "parameters", "mult_adds"),
    [
        (functional, 32 * 25 + 320 * 24 * 24, 24 * 24 * 32 * 25 + 24 * 24 * 320),
        (attention, ATTENTION_WEIGHTS, ATTENTION),
        (lambda: attention(weights=False), ATTENTION_WEIGHTS, ATTENTION),
        (tied, 16 * 16 + 2 * 16, 2 * 16 * 16),
        (listed, 784 * 16 + 160, 784 * 16 + 160),
        (lambda: normed(parametrizations.weight_norm), NORMED_WEIGHTS, NORMED),
        (lambda: normed(nn.utils.weight_norm), NORMED_WEIGHTS, NORMED),
        (transposed, 36 + 4 + 4 * 3 * 16 + 6, 14 * 14 * (36 + 4 * 3 * 16)),
        (lambda: Made(bilinear, first=nn.Linear(784, 6), last=nn.Bilinear(6, 6, 10)), 5080, 5064),
        (lambda: Made(vectors, last=nn.Parameter(torch.zeros(10, 784))), 7840, 7840 + 784),
        (recurrent, 4 * 16 * (28 + 16 + 2), 28 * 4 * 16 * (28 + 16)),
    ],
)
@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
def test_whatever_a_network_calls_is_counted(make, parameters, mult_adds):
    cost = compute_cost(make, MNIST)
    assert (cost.parameters, cost.mult_adds) == (parameters, mult_adds)
    assert f"{parameters:,} parameters, {mult_adds:,} multiply-adds" in cost.summary


def test_a_shared_weight_is_named_where_torchinfo_counts_it_twice():
    cost = compute_cost(tied, MNIST)
    assert "Total params: 544" in cost.summary
    assert "288 parameters" in cost.summary
    assert "not counted again: second.weight" in cost.summary


CONF = own_conf()
GROUPS = ("step", "experiment", "model")
PUBLISHED = [
    f"{group}={path.relative_to(CONF / group).with_suffix('')}"
    for group in GROUPS
    for path in sorted((CONF / group).rglob("*.yaml"))
]


@pytest.mark.slow
@pytest.mark.parametrize("chosen", PUBLISHED)
def test_of_plain_layers_torchinfo_counts_the_same(chosen):
    """But for their biases and norms, under a thirtieth; it has another way to count."""
    cfg = configure("train", chosen)
    with torch.device("meta"):
        shape = (1, cfg.data.in_channels, cfg.data.image_size, cfg.data.image_size)
        table = torchinfo.summary(build(cfg, "model"), shape, device="meta", verbose=0)
    cost = cost_of(cfg)
    assert cost.parameters == table.total_params
    assert 0.97 * table.total_mult_adds < cost.mult_adds <= table.total_mult_adds


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)), "1.weight is of a lazy layer"),
        (
            lambda: Made(lambda made, image: image * image.max().item()),
            "cannot be called on meta tensors",
        ),
    ],
)
def test_what_cannot_be_counted_is_refused(make, complaint):
    with pytest.raises(UserError, match=complaint):
        compute_cost(make, MNIST)
