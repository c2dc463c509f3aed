"""The next network of a search: the likeliest answer of several that a sampler proposes."""

from typing import Any

import optuna
from omegaconf import DictConfig
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from experiments.cli.config import build
from experiments.cli.errors import UserError, one_line
from experiments.study.race import FIRST, Network, Race
from experiments.study.space import Space

POOL = 24  # proposals to choose from


class RaceSampler(BaseSampler):
    """Draws from another sampler until a proposal can be trained, so that a network over its budget
    is not made a trial. With a race, it takes a network that was not tried before, if there is
    one: from the ninth on the likeliest answer of several proposals. `rejected` is the number of
    proposals that could not be trained."""

    LIMIT = 5_000  # proposals in a row: some minutes

    def __init__(self, sampler: BaseSampler, space: Space, race: Race | None = None) -> None:
        self.sampler, self.space, self.race, self.rejected = sampler, space, race, 0
        self.before_trial, self.after_trial = sampler.before_trial, sampler.after_trial

    def infer_relative_search_space(self, *_: Any) -> dict[str, BaseDistribution]:
        return dict(self.space.distributions)  # a copy: PartialFixedSampler takes its own out

    def sample_independent(self, *arguments: Any) -> Any:
        return self.sampler.sample_independent(*arguments)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if self.race is None or trial.params:
            return self.feasible(study, trial, search_space)
        known, pool = self.race.networks, {}
        tried = {self.space.network(network.trial.params) for network in known}
        for _ in range(POOL):
            params = self.feasible(study, trial, search_space)
            if (network := self.space.network(params)) not in tried:
                pool.setdefault(network, params)
                if len(known) < FIRST:
                    break
        if not pool:  # a small space: a network is tried once more
            return params
        new = [*pool.values()]
        networks = [Network(self.space.count(one), self.space.features(one)) for one in new]
        return new[self.race.propose(networks) if len(new) > 1 else 0]

    def feasible(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Values for `search_space`. Those that the trial has already stay, and where a sampler
        around this one fixes others, as PartialFixedSampler does, they are trained with these.
        UserError: none of `LIMIT` proposals can be trained."""
        inner = self.sampler.infer_relative_search_space(study, trial)
        inner = {name: inner[name] for name in inner if name in search_space}
        for _ in range(self.LIMIT):
            params = self.sampler.sample_relative(study, trial, inner) | trial.params
            for name, one in (self.space.distributions | search_space).items():
                if name not in params:
                    params[name] = study.sampler.sample_independent(study, trial, name, one)
            reason = self.space.why_infeasible(params)
            if reason is None:
                return {name: params[name] for name in search_space}
            self.rejected += 1
        raise UserError(
            f"none of {self.LIMIT:,} proposals can be trained; the last: {reason}. "
            "Raise the budget, or make the space smaller"
        )


def try_sampler(cfg: DictConfig, space: Space) -> None:
    """Run a study in memory, without training. Raises UserError where the sampler fails."""
    study = optuna.create_study(direction="maximize", sampler=build(cfg, "sampler", seed=0))
    try:
        for _ in range(3):
            study.tell(study.ask(space.distributions), 0.5)
    except (TypeError, ValueError) as error:
        raise UserError(f"sampler: {one_line(error)}") from error
