"""What proposes the next trial of a search, beside the samplers of Optuna."""

from itertools import compress
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

Params = dict[str, Any]

Distributions = dict[str, BaseDistribution]


class Evolution(BaseSampler):
    """Regularized evolution: the best of a few recent trials, with a change or two.

    Real, Aggarwal, Huang and Le, "Regularized Evolution for Image Classifier
    Architecture Search", 2019: the population is that of the latest trials, whatever
    their score, so that a lucky one dies out.

    Args:
        population: latest trials that count; so many are drawn at random first.
        tournament: how many of them are drawn, of which the best becomes the parent.
        changes: how many values become others, on average; at least one does.
        seed: of what is drawn.
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
        if not changes >= 1:
            raise ValueError(f"changes must be at least 1, not {changes}")
        self.population, self.tournament, self.changes = population, tournament, changes
        self.random, self.draw = np.random.default_rng(seed), RandomSampler(seed)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> Distributions:
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return dict(trials[-1].distributions) if trials else {}

    def sample_relative(self, study: Study, trial: FrozenTrial, space: Distributions) -> Params:
        """The parent's values, of which one or more are others."""
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(trials) < self.population:
            return {}
        latest = sorted(trials, key=lambda one: one.datetime_complete)[-self.population :]
        rivals = [latest[i] for i in self.random.choice(len(latest), self.tournament, False)]
        best = max if study.direction == StudyDirection.MAXIMIZE else min
        parent = best(rivals, key=lambda one: one.value).params
        names = sorted(name for name in parent if not space[name].single())
        if not names:
            return parent
        change = self.random.random(len(names)) < (self.changes - 1) / max(1, len(names) - 1)
        change[self.random.integers(len(names))] = True
        params = dict(parent)
        for name in compress(names, change):
            while params[name] == parent[name]:
                params[name] = self.sample_independent(study, trial, name, space[name])
        return params

    def sample_independent(
        self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Any:
        return self.draw.sample_independent(study, trial, name, distribution)
