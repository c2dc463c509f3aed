"""Optuna's own suites, for our sampler and for the storages that we open."""

from collections.abc import Callable, Iterator

import optuna
import pytest
from conftest import configure
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, RDBStorage
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)
from optuna.testing.pytest_storages import StorageTestCase
from optuna.trial import FrozenTrial

from experiments.cli.config import build
from experiments.study.proposals import Likeliest
from experiments.study.storage import open_storage

optuna.logging.set_verbosity(optuna.logging.ERROR)
pytestmark = pytest.mark.slow

SAMPLERS = [("random",), ("tpe", "sampler.n_startup_trials=1"), ("nsga2",)]


class AnySpace:
    """One in which everything can be trained."""

    def __init__(self) -> None:
        self.distributions: dict[str, BaseDistribution] = {}

    def why_infeasible(self, params: dict) -> None:
        return None


class Learning(Likeliest):
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


@pytest.mark.parametrize("make", SAMPLERS, indirect=True, ids=lambda one: one[0])
class TestLikeliest(BasicSamplerTestCase, RelativeSamplerTestCase):
    @pytest.fixture
    def sampler(self, make):
        return make


@pytest.mark.parametrize("make", SAMPLERS, indirect=True, ids=lambda one: one[0])
class TestLikeliestOfSeveralObjectives(MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self, make):
        return make


PLACES = {"journal": "{}/some/search.journal", "sqlite": "sqlite:///{}/some/search.db"}


@pytest.fixture(params=["journal", "sqlite", "postgresql"])
def storage(request, tmp_path) -> Iterator[BaseStorage]:
    if place := PLACES.get(request.param):
        opened = open_storage(place.format(tmp_path))
    else:
        opened = open_storage(request.getfixturevalue("postgresql"))
    for study in opened.get_all_studies():  # of the test before, where they share a database
        opened.delete_study(opened.get_study_id_from_name(study.study_name))
    yield opened
    if isinstance(opened, RDBStorage):
        opened.engine.dispose()


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
class TestStorages(StorageTestCase):
    pass
