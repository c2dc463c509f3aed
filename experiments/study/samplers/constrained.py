"""A sampler for Optuna that proposes only what can be trained."""

from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from experiments.cli.errors import UserError
from experiments.study.space import Space


class ConstrainedSampler(BaseSampler):
    """Draws from another sampler until a proposal can be trained.

    The proposals follow the other sampler's distribution under that condition, and a
    network over its budget never becomes a trial.

    Args:
        sampler: the other sampler.
        space: the distributions of all values, and which of them can be trained.

    Attributes:
        rejected: number of proposals that could not be trained.
    """

    LIMIT = 5_000  # proposals in a row: a minute or two

    def __init__(self, sampler: BaseSampler, space: Space) -> None:
        self.sampler, self.space, self.rejected = sampler, space, 0
        self.before_trial, self.after_trial = sampler.before_trial, sampler.after_trial

    def infer_relative_search_space(self, *_: Any) -> dict[str, BaseDistribution]:
        return dict(self.space.distributions)  # a copy: PartialFixedSampler takes its own out

    def sample_independent(self, *arguments: Any) -> Any:
        return self.sampler.sample_independent(*arguments)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values for `search_space`. Those that the trial has already stay, and where a sampler
        around this one fixes others, as PartialFixedSampler does, they are trained with these.

        Raises:
            UserError: none of `LIMIT` proposals can be trained.
        """
        inner = self.sampler.infer_relative_search_space(study, trial)
        inner = {name: inner[name] for name in inner if name in search_space}
        for _ in range(self.LIMIT):
            params = self.sampler.sample_relative(study, trial, inner) | trial.params
            for name, distribution in (self.space.distributions | search_space).items():
                if name not in params:
                    params[name] = study.sampler.sample_independent(
                        study, trial, name, distribution
                    )
            reason = self.space.why_infeasible(params)
            if reason is None:
                return {name: params[name] for name in search_space}
            self.rejected += 1
        raise UserError(
            f"none of {self.LIMIT:,} proposals can be trained; the last: {reason}. "
            "Raise the budget, or make the space smaller"
        )
