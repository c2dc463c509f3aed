"""What proposes the next trial of a search, beside the samplers of Optuna."""

from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from experiments.program import UserError

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


class Within(BaseSampler):
    """Another sampler, asked again and again until what it proposes can be trained.

    So its proposals are those of the other one under that condition, and what is over
    budget never becomes a trial.

    Args:
        sampler: the other one.
        distributions: of all values.
        objections: each says why values cannot be trained, or None; the cheapest first.

    Attributes:
        rejected: how many proposals were refused.
    """

    LIMIT = 10_000

    def __init__(
        self,
        sampler: BaseSampler,
        distributions: Distributions,
        objections: Sequence[Callable[[Params], str | None]],
    ) -> None:
        self.sampler, self.distributions, self.objections = sampler, distributions, objections
        self.rejected = 0

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self.sampler.before_trial(study, trial)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self.sampler.after_trial(study, trial, state, values)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> Distributions:
        return self.distributions

    def sample_relative(self, study: Study, trial: FrozenTrial, space: Distributions) -> Params:
        """Values for all of the space; those that the trial has already stay.

        Raises:
            UserError: nothing of the space seems to fit.
        """
        inner = self.sampler.infer_relative_search_space(study, trial)
        for _ in range(self.LIMIT):
            params = self.sampler.sample_relative(study, trial, inner) | trial.params
            for name, distribution in self.distributions.items():
                if name not in params:
                    params[name] = self.sampler.sample_independent(study, trial, name, distribution)
            objection = next(filter(None, (object(params) for object in self.objections)), None)
            if objection is None:
                return params
            self.rejected += 1
        raise UserError(
            f"none of {self.LIMIT:,} proposals can be trained; the last: {objection}. "
            "Raise the budget, or make the space smaller"
        )

    def sample_independent(
        self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution
    ) -> Any:
        return self.sampler.sample_independent(study, trial, name, distribution)
