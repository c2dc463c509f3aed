import optuna
import pytest
from conftest import configure
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from experiments.budget.cost import cost_of
from experiments.cli.errors import UserError
from experiments.study.space import Space


def space_of(*overrides: str) -> Space:
    search = () if any("search=" in one for one in overrides) else ("search=blocks",)
    cfg = configure("search", *search, *overrides)
    return Space(cfg, cfg.space)


def test_values_are_counted_as_the_network_will_be():
    space = space_of("budget.parameters=null")
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    counted = 0
    while counted < 5:
        params = study.ask(space.distributions).params
        space.cfg.budget.parameters = None
        if space.why_infeasible(params):
            continue  # not a network
        counted += 1
        parameters = cost_of(space.configure(params)).parameters
        space.cfg.budget.parameters = parameters
        assert space.why_infeasible(params) is None
        space.cfg.budget.parameters = parameters - 1
        assert space.why_infeasible(params).startswith(
            f"over budget: {parameters:,} parameters, budget.parameters allows "
            f"{parameters - 1:,}, 1 too many"
        )


def test_multiply_adds_and_bytes_have_limits_too():
    space = space_of("search=plain")
    start = space.start
    assert start["model.widths.0"] == 8
    cost = cost_of(space.configure(start))
    for name in ("mult_adds", "bytes"):
        space.cfg.budget[name] = getattr(cost, name)
        assert space.why_infeasible(start) is None
        space.cfg.budget[name] -= 1
        assert name in space.why_infeasible(start)
        space.cfg.budget[name] = None


def test_a_recipe_that_cannot_be_trained_is_infeasible():
    space = space_of("search=plain", "+space.scheduler.pct_start=[0.3,2.0]")
    start = space.start
    assert space.why_infeasible(start | {"scheduler.pct_start": 2.0}).startswith("scheduler: ")


@pytest.mark.parametrize(
    "limit",
    ["budget.parameters=100", pytest.param("budget.mult_adds=1000", marks=pytest.mark.slow)],
)
def test_a_space_where_nothing_fits_is_refused_at_once(limit):
    with pytest.raises(
        UserError, match=r"the smallest network found in it is over budget: .* allows 1"
    ):
        _ = space_of("search=plain", limit).start


def test_a_space_where_little_fits_is_not_refused():
    smallest = {"model.widths.0": 4, "model.widths.1": 4}
    smallest |= {f"model.widths.{i}": 6 for i in (2, 3, 4)} | {"model.head": 1}
    smallest |= {f"model.blocks.{i}": "shared" for i in (1, 2, 3, 4)}
    space = space_of("search=plain")
    space.cfg.budget.parameters = cost_of(space.configure(smallest)).parameters
    assert space.start is None
    assert space.why_infeasible(smallest) is None


@pytest.mark.slow
def test_a_recipe_that_trains_no_network_is_refused_with_its_reason():
    with pytest.raises(UserError, match="optimizer: Invalid learning rate: -1"):
        _ = space_of("search=plain", "optimizer.lr=-1").start


def test_small_images_get_other_networks_than_the_start():
    """A search of 8x8 images begins with a proposal; what fits no network at all is refused."""
    space = space_of("search=scale", "data.image_size=8")
    assert space.start is None
    with pytest.raises(UserError, match="8x8"):
        _ = space_of("search=scale", "data.image_size=8", "+space.model.padded=[0]").start
    with pytest.raises(UserError, match=r"the smallest network found in it is over budget"):
        _ = space_of("search=scale", "data.image_size=8", "budget.parameters=10").start


@pytest.mark.parametrize("value", ["model.widths.0=3", "model.widths.0=null", "model.head=2"])
def test_a_configuration_outside_its_space_is_no_first_trial(value):
    assert space_of("search=plain", value).start is None


@pytest.mark.parametrize(
    ("space", "complaint"),
    [
        ({"model.withs.0": [1, 2]}, "no key model.withs.0 in the configuration; did you mean"),
        ({"model.widths.9": [1, 2]}, "no key model.widths.9"),
        ({"model.head": 3}, "space.model.head: give a list of choices, or low and high; it is 3"),
        ({"model": {"head": {"low": 1}}}, "space.model.head: give a list of choices"),
        ({"model.head": {"low": 5, "high": 1}}, "space.model.head: "),
        ({"optimizer.lr": {"low": 0, "high": 1.0, "log": True}}, "space.optimizer.lr: "),
        ({"optimizer.lr": {"low": None, "high": 1.0}}, "low and high must be numbers"),
        ({"optimizer.lr": {"low": "a", "high": 1.0}}, "low and high must be numbers"),
        ({"optimizer.lr": {"low": 0.1, "high": float("inf")}}, "every number must be finite"),
        ({"optimizer.lr": [0.1, float("nan")]}, "space.optimizer.lr: every number must be finite"),
        ({"optimizer.lr": []}, "space.optimizer.lr: "),
        ({"data.holdout": [10, 200]}, "space.data.holdout: must be the same for all networks"),
        ({"data.root": ["a", "b"]}, "space.data.root: must be the same for all networks"),
        ({"tracking.uri": ["a", "b"]}, "space.tracking.uri: must be the same"),
        ({"budget.parameters": [1000, 2000]}, "space.budget.parameters: must be the same"),
        ({"seed": [1, 2]}, "space.seed: must be the same"),
        ({"trainer.max_epochs": [1, 2]}, "space.trainer.max_epochs: must be the same"),
        ({}, "space is empty"),
    ],
)
def test_a_mistake_in_a_space(space, complaint):
    with pytest.raises(UserError) as error:
        Space(configure("search"), OmegaConf.create(space))
    assert complaint in str(error.value)


def test_the_command_line_changes_a_space():
    widths = "+space.model.widths.0={low: 1, high: 2}"
    ours = space_of("+space.model.head=[1]", "+space.model.dropout=null", widths).distributions
    usual = space_of().distributions
    assert ours["model.head"] == CategoricalDistribution([1])
    assert ours["model.widths.0"] == IntDistribution(1, 2)
    assert usual.keys() - ours.keys() == {"model.dropout"}


def test_whole_numbers_floats_and_choices():
    space = {
        "model.head": {"low": 1, "high": 5, "step": 2},
        "optimizer.lr": {"low": 0.01, "high": 1.0, "log": True},
        "model.norm": ["batch", None],
    }
    assert list(Space(configure("search"), OmegaConf.create(space)).distributions.values()) == [
        IntDistribution(1, 5, step=2),
        FloatDistribution(0.01, 1.0, log=True),
        CategoricalDistribution(["batch", None]),
    ]
