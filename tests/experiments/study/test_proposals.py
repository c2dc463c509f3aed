"""Samplers: always within the budget, and better than random where they learn."""

import statistics
from collections.abc import Callable

import optuna
import pytest
from conftest import configure
from omegaconf import DictConfig
from optuna import Study
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)
from optuna.trial import FrozenTrial, create_trial

from experiments.budget.network import check_trainable
from experiments.cli.config import build
from experiments.cli.errors import UserError
from experiments.study.proposals import RaceSampler
from experiments.study.race import FIRST, SHORT, Network, Race, Rules, Run
from experiments.study.space import Space

optuna.logging.set_verbosity(optuna.logging.ERROR)


def propose(cfg: DictConfig, space: Space, count: int) -> tuple[list[dict], int]:
    """Trials of a study as workers begin them; and how many proposals were rejected.

    The wider the network the higher the score, so that a sampler learns to approach the budget.
    """
    study, params, rejected = optuna.create_study(direction="maximize"), [], 0
    for number in range(count):
        sampler = build(cfg, "sampler", seed=number)
        study.sampler = RaceSampler(sampler, space)
        trial = study.ask(space.distributions)
        params.append(trial.params)
        rejected += study.sampler.rejected
        study.tell(trial, sum(trial.params[f"model.widths.{i}"] for i in range(6)))
    return params, rejected


@pytest.mark.parametrize(
    "sampler", ["random", "tpe", pytest.param("nsga2", marks=pytest.mark.slow)]
)
def test_no_trial_is_over_budget(sampler):
    cfg = configure("search", "search=blocks", f"sampler={sampler}", "budget.parameters=6000")
    space = Space(cfg, cfg.space)
    params, rejected = propose(cfg, space, 40)
    assert rejected > 20  # else this shows nothing
    for one in params:  # by the budget that a run is held to
        check_trainable(space.configure(one))


@pytest.mark.parametrize("choices", [[True, True], [0, 0.0], [1, True]])
def test_evolution_ends_where_choices_are_equal(choices):
    cfg = configure("search", "sampler=nsga2", "sampler.population_size=4")
    space = {"x": CategoricalDistribution(choices)}
    study = optuna.create_study(sampler=build(cfg, "sampler", seed=0))
    for _ in range(20):
        study.tell(study.ask(space), 0.5)
    assert len(study.trials) == 20


@pytest.mark.parametrize("count", [1, FIRST])
def test_no_network_is_tried_again_by_other_values(count):
    """Factors that give the same widths are the same network, and here the likeliest."""
    given = ("search=scale", "~space", "+space.model.scale={low: 0.93, high: 1.0}")
    cfg = configure("search", *given)
    space = Space(cfg, cfg.space)
    start = {"model.scale": 1.0}
    tried = create_trial(params=start, distributions=space.distributions, value=0.9)
    networks = [Network(space.count(start), space.features(start), tried)] * count
    results = {Run(n, SHORT, 0): 0.9 for n in range(count)}
    race = Race(Rules(None, 99, 4, 0, 3, 0.0005), networks, results)
    for seed in range(5):
        sampler = RaceSampler(optuna.samplers.RandomSampler(seed), space, race)
        trial = optuna.create_study(sampler=sampler).ask(space.distributions)
        assert space.count(trial.params) != space.count(start)


def test_a_space_that_does_not_fit_is_reported(monkeypatch):
    monkeypatch.setattr(RaceSampler, "LIMIT", 50)
    cfg = configure("search", "search=blocks", "budget.parameters=50")
    with pytest.raises(
        UserError, match=r"none of 50 proposals can be trained; the last: .*allows 50"
    ):
        propose(cfg, Space(cfg, cfg.space), 1)


VALUES = {
    **{f"x{i}": FloatDistribution(-1, 1) for i in range(4)},
    **{f"n{i}": IntDistribution(0, 20) for i in range(3)},
    **{f"c{i}": CategoricalDistribution(["a", "b", "c", "d"]) for i in range(3)},
}


def score(params: dict) -> float:
    """Highest, 0, at one place: a cheap substitute for training."""
    far = sum((params[f"x{i}"] - 0.3 * i + 0.4) ** 2 for i in range(4))
    far += sum(((params[f"n{i}"] - 5 * i - 3) / 10) ** 2 for i in range(3))
    return -far - sum(0.5 * (params[f"c{i}"] != "abd"[i]) for i in range(3))


def best_of_100(cfg: DictConfig, seed: int) -> float:
    study = optuna.create_study(direction="maximize", sampler=build(cfg, "sampler", seed=seed))
    for _ in range(100):
        trial = study.ask(VALUES)
        study.tell(trial, score(trial.params))
    return study.best_value


@pytest.mark.slow
def test_tpe_beats_random_search():
    """At 100 trials, by the median of 10 studies."""
    median = {}
    for sampler in ("random", "tpe"):
        cfg = configure("search", f"sampler={sampler}")
        median[sampler] = statistics.median(best_of_100(cfg, seed) for seed in range(10))
    print(median)
    assert median["tpe"] > median["random"] + 0.2


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_values_that_a_sampler_around_ours_fixes():
    """As PartialFixedSampler: they stay, in networks that fit the budget with them."""
    cfg = configure("search", "search=plain", "sampler=tpe", "budget.parameters=6000")
    cfg.sampler.n_startup_trials = 2
    space = Space(cfg, cfg.space)
    study = optuna.create_study(direction="maximize")
    fixed = {"model.widths.4": 16, "model.head": 3}
    ours = RaceSampler(build(cfg, "sampler", seed=0), space)
    for sampler in (ours, *[optuna.samplers.PartialFixedSampler(fixed, ours)] * 4):
        study.sampler = sampler
        trial = study.ask(space.distributions)
        assert space.why_infeasible(trial.params) is None
        study.tell(trial, trial.params["model.widths.0"])
        if sampler is not ours:
            assert fixed.items() <= trial.params.items()
    assert fixed.keys() <= space.distributions.keys()


SAMPLERS = [("random",), ("tpe", "sampler.n_startup_trials=1"), ("nsga2",)]


class AnySpace:
    """One in which everything can be trained."""

    def __init__(self) -> None:
        self.distributions: dict[str, BaseDistribution] = {}

    def why_infeasible(self, params: dict) -> None:
        return None


class Learning(RaceSampler):
    """Has the space that the objectives of a suite ask for, once a trial has asked."""

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict:
        for one in study.get_trials(deepcopy=False):
            self.space.distributions |= one.distributions
        return super().infer_relative_search_space(study, trial)


@pytest.fixture(scope="module")
def make(request) -> Callable[[], BaseSampler]:
    """A sampler of `conf/sampler` as a worker has it, by its name and overrides."""
    name, *overrides = request.param
    cfg = configure("search", f"sampler={name}", *overrides)
    return lambda: Learning(build(cfg, "sampler", seed=0), AnySpace())


@pytest.mark.slow
@pytest.mark.parametrize("make", SAMPLERS, indirect=True, ids=lambda one: one[0])
class TestRaceSampler(BasicSamplerTestCase, RelativeSamplerTestCase):
    """Optuna's own suite."""

    @pytest.fixture
    def sampler(self, make):
        return make


@pytest.mark.slow
@pytest.mark.parametrize("make", SAMPLERS, indirect=True, ids=lambda one: one[0])
class TestRaceSamplerOfSeveralObjectives(MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self, make):
        return make
