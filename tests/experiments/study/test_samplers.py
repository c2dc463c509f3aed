"""What is proposed: within the budget always, and better than at random where it should be."""

import functools
import statistics
import time

import optuna
import pytest
from conftest import PROJECT
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from experiments.budget.cost import check
from experiments.budget.network import design
from experiments.cli.config import build
from experiments.cli.errors import UserError
from experiments.study.samplers.constrained import Within
from experiments.study.samplers.evolution import Evolution
from experiments.study.space import Space

optuna.logging.set_verbosity(optuna.logging.ERROR)


@functools.cache
def configuration(*overrides: str):
    with initialize_config_dir(version_base="1.3", config_dir=str(PROJECT / "conf")):
        return compose("search", overrides=list(overrides)), list(compose("train"))


def configure(*overrides: str):
    """The configuration of a search, and that of its trials."""
    cfg, keys = configuration(*overrides)
    return cfg.copy(), OmegaConf.masked_copy(cfg, keys)


def proposals(cfg, space: Space, count: int) -> tuple[list[dict], int]:
    """Trials of a study with made scores, as a worker would have them; and how many were rejected.

    The wider the network the better, so that a sampler learns to press against the budget.
    """
    study, params, rejected = optuna.create_study(direction="maximize"), [], 0
    for number in range(count):
        study.sampler = Within(
            build(cfg, "sampler", seed=number), space.distributions, (space.objection,)
        )
        trial = study.ask(space.distributions)
        params.append(trial.params)
        rejected += study.sampler.rejected
        study.tell(trial, sum(trial.params[f"model.widths.{i}"] for i in range(6)))
    return params, rejected


def test_of_1000_samples_of_the_default_space_none_is_over_budget():
    cfg, base = configure("sampler=random", "budget.parameters=8000")
    space = Space(base, cfg.space)
    sampler = Within(build(cfg, "sampler", seed=0), space.distributions, (space.objection,))
    study = optuna.create_study()
    study.ask()
    [trial] = study.get_trials()
    start = time.process_time()
    samples = [sampler.sample_relative(study, trial, space.distributions) for _ in range(1000)]
    milliseconds = 1000 * (time.process_time() - start) / (1000 + sampler.rejected)
    print(f"{milliseconds:.1f} ms a proposal, {sampler.rejected} of them rejected")
    assert sampler.rejected > 100  # else this tells nothing
    for sample in samples[::50]:  # by the budget that a run is held to
        trained = space.configure(sample)
        check(design(trained)[1], trained)
    assert all(space.objection(sample) is None for sample in samples[::10])


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "evolution"])
def test_what_learns_stays_within_the_budget(sampler):
    cfg, base = configure(f"sampler={sampler}", "budget.parameters=6000")
    space = Space(base, cfg.space)
    params, _ = proposals(cfg, space, 40)
    assert all(space.objection(one) is None for one in params)


def test_a_network_is_weighed_as_it_will_be():
    cfg, base = configure("budget.parameters=null")
    space = Space(base, cfg.space)
    for one in proposals(cfg, space, 10)[0]:
        parameters = design(space.configure(one))[1].parameters
        space.cfg.budget.parameters = parameters
        assert space.objection(one) is None
        space.cfg.budget.parameters = parameters - 1
        assert space.objection(one).endswith(f"allows {parameters - 1:,}, 1 too many")


def test_multiply_adds_and_bytes_are_held_to_their_limits_too():
    cfg, base = configure("search=plain")
    space = Space(base, cfg.space)
    start = space.start()
    assert start["model.widths.0"] == 8
    cost = design(space.configure(start))[1]
    for name in ("mult_adds", "bytes"):
        space.cfg.budget[name] = getattr(cost, name)
        assert space.objection(start) is None
        space.cfg.budget[name] -= 1
        assert name in space.objection(start)
        space.cfg.budget[name] = None


def test_where_nothing_fits_it_says_so(monkeypatch):
    monkeypatch.setattr(Within, "LIMIT", 50)
    cfg, base = configure("budget.parameters=50")
    with pytest.raises(
        UserError, match=r"none of 50 proposals can be trained; the last: .*allows 50"
    ):
        proposals(cfg, Space(base, cfg.space), 1)


@pytest.mark.parametrize(
    ("space", "complaint"),
    [
        ({"model.withs.0": [1, 2]}, "no key model.withs.0 in the configuration; did you mean"),
        ({"model.widths.9": [1, 2]}, "no key model.widths.9"),
        ({"model.head": 3}, "space.model.head: give a list of choices, or low and high; it is 3"),
        ({"model": {"head": {"low": 1}}}, "space.model.head: give a list of choices"),
        ({"model.head": {"low": 5, "high": 1}}, "space.model.head: "),
        ({"optimizer.lr": {"low": 0, "high": 1.0, "log": True}}, "space.optimizer.lr: "),
        ({}, "space is empty"),
    ],
)
def test_a_mistake_in_a_space(space, complaint):
    _, base = configure()
    with pytest.raises(UserError) as error:
        Space(base, OmegaConf.create(space))
    assert complaint in str(error.value)


def test_the_command_line_changes_a_space():
    widths = "+space.model.widths.0={low: 1, high: 2}"
    cfg, base = configure("+space.model.head=[1]", "+space.model.dropout=null", widths)
    ours = Space(base, cfg.space).distributions
    usual = Space(base, configure()[0].space).distributions
    assert ours["model.head"] == CategoricalDistribution([1])
    assert ours["model.widths.0"] == IntDistribution(1, 2)
    assert usual.keys() - ours.keys() == {"model.dropout"}


def test_whole_numbers_floats_and_choices():
    _, base = configure()
    space = {
        "model.head": {"low": 1, "high": 5, "step": 2},
        "optimizer.lr": {"low": 0.01, "high": 1.0, "log": True},
        "model.norm": ["batch", None],
    }
    assert list(Space(base, OmegaConf.create(space)).distributions.values()) == [
        IntDistribution(1, 5, step=2),
        FloatDistribution(0.01, 1.0, log=True),
        CategoricalDistribution(["batch", None]),
    ]


MADE = {
    **{f"x{i}": FloatDistribution(-1, 1) for i in range(4)},
    **{f"n{i}": IntDistribution(0, 20) for i in range(3)},
    **{f"c{i}": CategoricalDistribution(["a", "b", "c", "d"]) for i in range(3)},
}


def made_score(params: dict) -> float:
    """Highest, 0, at one place: a cheap stand-in for training."""
    far = sum((params[f"x{i}"] - 0.3 * i + 0.4) ** 2 for i in range(4))
    far += sum(((params[f"n{i}"] - 5 * i - 3) / 10) ** 2 for i in range(3))
    return -far - sum(0.5 * (params[f"c{i}"] != "abd"[i]) for i in range(3))


def best_of_100(cfg, seed: int) -> float:
    study = optuna.create_study(direction="maximize", sampler=build(cfg, "sampler", seed=seed))
    for _ in range(100):
        trial = study.ask(MADE)
        study.tell(trial, made_score(trial.params))
    return study.best_value


def test_evolution_and_tpe_beat_random_search():
    """At 100 trials, by the median of 10 studies."""
    median = {}
    for sampler in ("random", "tpe", "evolution"):
        cfg, _ = configure(f"sampler={sampler}")
        median[sampler] = statistics.median(best_of_100(cfg, seed) for seed in range(10))
    print(median)
    assert median["tpe"] > median["random"] + 0.2
    assert median["evolution"] > median["random"] + 0.2


def test_evolution_changes_at_least_one_value_of_a_recent_trial():
    study = optuna.create_study(direction="maximize", sampler=Evolution(5, 2, seed=0))
    for _ in range(30):
        trial = study.ask(MADE)
        recent = [one.params for one in study.get_trials()[-6:-1]]
        if trial.number >= 5:
            alike = [sum(one[k] == trial.params[k] for k in MADE) for one in recent]
            assert 5 <= max(alike) < len(MADE)
        study.tell(trial, made_score(trial.params))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [({"tournament": 40}, "tournament must be from 1"), ({"changes": 0}, "changes must be")],
)
def test_evolution_refuses(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        Evolution(**options)
