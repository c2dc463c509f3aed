"""A sampler that proposes only what can be trained."""

from collections.abc import Callable, Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from experiments.cli.errors import UserError
from experiments.study.samplers.evolution import Distributions, Params


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
