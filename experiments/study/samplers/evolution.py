"""A sampler for Optuna: regularized evolution."""

from itertools import compress
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import RandomSampler
from optuna.search_space import intersection_search_space
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState


class Evolution(RandomSampler):
    """Regularized evolution: the best of a few recent trials, with one or more values changed.

    Real, Aggarwal, Huang and Le, "Regularized Evolution for Image Classifier
    Architecture Search", 2019. The population is the latest trials, whatever their
    score, so that a lucky one is forgotten.

    Args:
        population: number of latest trials to choose from; as many first trials are random.
        tournament: number of them that are drawn; the best of these is the parent.
        changes: number of values that are changed, on average; at least one is.
        seed: of the random numbers.
    """

    def __init__(
        self,
        population: int = 30,
        tournament: int = 10,
        changes: float = 1.5,
        seed: int | None = None,
    ) -> None:
        if not 1 <= tournament <= population:
            raise ValueError(f"tournament must be from 1 to population, not {tournament}")
        self.population, self.tournament, self.changes = population, tournament, changes
        super().__init__(seed)
        self.generator = np.random.default_rng(seed)

    def infer_relative_search_space(self, study: Study, _: Any) -> dict[str, BaseDistribution]:
        return intersection_search_space(study.get_trials(deepcopy=False))

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The parent's values, one or more of them changed; none before a population exists."""
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(trials) < self.population:
            return {}
        latest = sorted(trials, key=lambda one: one.datetime_complete)[-self.population :]
        drawn = self.generator.choice(len(latest), self.tournament, replace=False)
        best = max if study.direction == StudyDirection.MAXIMIZE else min
        parent = best((latest[i] for i in drawn), key=lambda one: one.value).params
        params = {name: parent[name] for name in search_space if name in parent}
        names = sorted(name for name in params if varies(search_space[name]))
        if not names:
            return params
        change = self.generator.random(len(names)) < (self.changes - 1) / max(1, len(names) - 1)
        change[self.generator.integers(len(names))] = True
        for name in compress(names, change):
            while params[name] == parent[name]:
                params[name] = self.sample_independent(study, trial, name, search_space[name])
        return params


def varies(distribution: BaseDistribution) -> bool:
    """Whether a distribution has two values; choices may be equal, such as 0 and 0.0."""
    if isinstance(distribution, CategoricalDistribution):
        return len(set(distribution.choices)) > 1
    return not distribution.single()
