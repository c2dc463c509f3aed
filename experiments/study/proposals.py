"""The next network of a search: the likeliest answer of several that a sampler proposes."""

from typing import Any, NamedTuple

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from experiments.study.race import Network, Run, propose
from experiments.study.samplers.constrained import ConstrainedSampler
from experiments.study.space import Params, Space

POOL = 24  # proposals to choose from


class Found(NamedTuple):
    """What a study holds: networks by their number in the race, and the results of their runs."""

    trials: list[FrozenTrial]
    networks: list[Network]
    results: dict[Run, float | None]

    def accuracies(self, number: int, stage: int) -> list[float]:
        """Those of a network in a stage, in the order of seeds; without runs that diverged."""
        runs = sorted(run for run in self.results if run[:2] == (number, stage))
        return [value for run in runs if (value := self.results[run]) is not None]


class Likeliest(ConstrainedSampler):
    """Draws several proposals of another sampler, and takes the likeliest answer of the search.

    Args:
        sampler, space: as of ConstrainedSampler.
        found: what is known; None: the first proposal is taken.
        target: see `race.Rules`.
    """

    def __init__(
        self, sampler: BaseSampler, space: Space, found: Found | None, target: float | None
    ) -> None:
        super().__init__(sampler, space)
        self.found, self.target = found, target

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if self.found is None or trial.params:
            return super().sample_relative(study, trial, search_space)
        pool: list[Params] = []
        tried = [each.params for each in self.found.trials]
        for _ in range(POOL):
            params = super().sample_relative(study, trial, search_space)
            if params not in tried + pool:
                pool.append(params)
        if not pool:  # a small space: a network is tried once more
            return params
        networks = [Network(self.space.count(one), self.space.features(one)) for one in pool]
        return pool[propose(self.found.networks, self.found.results, networks, self.target)]
