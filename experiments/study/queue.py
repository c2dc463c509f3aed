"""The trials of a study, each handed to one worker: abandoned ones again, then new ones."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import numpy as np
import optuna
from omegaconf import DictConfig
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from experiments.cli.config import build
from experiments.cli.errors import UserError
from experiments.study.claims import Claims
from experiments.study.samplers.constrained import ConstrainedSampler
from experiments.study.space import Space


class Queue:
    """The trials of a study.

    A worker holds a claim on its trial. One that is marked as running while nobody holds
    a claim on it has lost its worker, and waits for another.

    Args:
        study: in `storage`.
        cfg: the configuration of experiments.search.
    """

    def __init__(
        self,
        study: optuna.Study,
        storage: BaseStorage,
        claims: Claims,
        cfg: DictConfig,
        space: Space,
    ) -> None:
        self.study, self.storage, self.claims = study, storage, claims
        self.cfg, self.space = cfg, space

    def finished(self) -> bool:
        """Whether all trials are finished, those of other workers too."""
        trials = self.study.get_trials(deepcopy=False)
        return len(trials) >= self.cfg.trials and all(one.state.is_finished() for one in trials)

    @contextmanager
    def take(self) -> Iterator[optuna.Trial | None]:
        """A trial that is ours until the context ends; None while others train the last ones."""
        with ExitStack() as claim:
            with self.claim():
                self._release_abandoned()
                states = [trial.state for trial in self.study.get_trials(deepcopy=False)]
                trial = None
                if TrialState.WAITING in states or len(states) < self.cfg.trials:
                    trial = self._ask(len(states))
                    claim.enter_context(self.claims.take(self.place(trial.number), wait=True))
            yield trial

    def claim(self) -> AbstractContextManager[bool]:
        """A claim on the study as a whole."""
        return self.claims.take(f"search-{self.study.study_name}", wait=True)

    def place(self, number: int) -> str:
        """The claim on a trial, and the folder of its checkpoints."""
        return f"search-{self.study.study_name}/{number}"

    def _release_abandoned(self) -> None:
        """Let the trials wait again whose workers are gone, with their number and checkpoint."""
        study_id = self.storage.get_study_id_from_name(self.study.study_name)
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            with self.claims.take(self.place(trial.number)) as free:
                if not free:
                    continue
                key = self.storage.get_trial_id_from_study_id_trial_number(study_id, trial.number)
                # it may have ended since we looked; while we hold the claim, it cannot
                if self.storage.get_trial(key).state == TrialState.RUNNING:
                    self.storage.set_trial_state_values(key, TrialState.WAITING)

    def _ask(self, count: int) -> optuna.Trial:
        """Start a trial that waits, or else a new one; `count` trials exist.

        The random numbers follow from the seed and the count: workers draw different
        values, and one worker alone draws the same values again.
        """
        seed = np.random.SeedSequence([self.cfg.seed, count]).generate_state(1)[0]
        sampler = ConstrainedSampler(
            build(self.cfg, "sampler", seed=int(seed)),
            self.space.distributions,
            self.space.why_infeasible,
        )
        self.study.sampler = sampler
        trial = self.study.ask(self.space.distributions)
        if trial.number == count:
            trial.set_user_attr("rejected", sampler.rejected)
        return trial


def rehearse(cfg: DictConfig, space: Space) -> None:
    """Run a study in memory, without training, to find values that sampler or pruner refuse.

    Raises:
        UserError: such a value.
    """
    sampler, pruner = build(cfg, "sampler", seed=0), build(cfg, "pruner")
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    try:
        for _ in range(3):
            trial = study.ask(space.distributions)
            trial.report(0.5, step=1)
            trial.should_prune()
            study.tell(trial, 0.5)
    except (TypeError, ValueError) as error:
        raise UserError(f"sampler or pruner: {' '.join(str(error).split())}") from error
