"""A sampler for Optuna that proposes only what can be trained."""

from collections.abc import Callable
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from experiments.cli.errors import UserError


class ConstrainedSampler(BaseSampler):
    """Draws from another sampler until a proposal can be trained.

    The proposals follow the other sampler's distribution under that condition, and a
    network over its budget never becomes a trial.

    Args:
        sampler: the other sampler.
        distributions: of all values, by name.
        why_infeasible: the reason why values cannot be trained; None where they can.

    Attributes:
        rejected: number of proposals that could not be trained.
    """

    LIMIT = 5_000  # proposals in a row: a minute or two

    def __init__(
        self,
        sampler: BaseSampler,
        distributions: dict[str, BaseDistribution],
        why_infeasible: Callable[[dict[str, Any]], str | None],
    ) -> None:
        self.sampler, self.distributions = sampler, distributions
        self.why_infeasible, self.rejected = why_infeasible, 0

    def before_trial(self, *arguments: Any) -> None:
        self.sampler.before_trial(*arguments)

    def after_trial(self, *arguments: Any) -> None:
        self.sampler.after_trial(*arguments)

    def sample_independent(self, *arguments: Any) -> Any:
        return self.sampler.sample_independent(*arguments)

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self.distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values for the whole space; those that the trial has already stay.

        Raises:
            UserError: none of `LIMIT` proposals can be trained.
        """
        inner = self.sampler.infer_relative_search_space(study, trial)
        for _ in range(self.LIMIT):
            params = self.sampler.sample_relative(study, trial, inner) | trial.params
            for name, distribution in self.distributions.items():
                if name not in params:
                    params[name] = self.sample_independent(study, trial, name, distribution)
            reason = self.why_infeasible(params)
            if reason is None:
                return params
            self.rejected += 1
        raise UserError(
            f"none of {self.LIMIT:,} proposals can be trained; the last: {reason}. "
            "Raise the budget, or make the space smaller"
        )
