"""One worker of a search: takes trials, then runs of finalists, until all of them are finished."""

import shutil
import time
import warnings
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import optuna
from hydra import compose
from omegaconf import DictConfig, OmegaConf
from optuna.trial import FrozenTrial, TrialState

from experiments.budget.network import prepare, price
from experiments.cli.config import build
from experiments.cli.jobs import announce, is_job
from experiments.cli.text import percent
from experiments.data.digest import known_digest
from experiments.data.images import load
from experiments.study.claims import Claims
from experiments.study.finals import best_trials, score, train_finalists, write_step
from experiments.study.results import log_study, report, study_run
from experiments.study.samplers.constrained import ConstrainedSampler
from experiments.study.settings import ID, begin_or_resume, try_sampler
from experiments.study.space import Space
from experiments.study.storage import open_storage
from experiments.study.trial import Reports
from experiments.tracking.parent_runs import PARENT
from experiments.tracking.store import STUDY, STUDY_ID, Store
from experiments.training.fit import Member, fit

SECONDS = 1  # between looks at the trials of other workers
TRIAL = "trial"  # a tag


class Worker:
    """One of the processes that work on a study.

    It holds a claim on its trial. A trial that is marked as running while nobody holds a
    claim on it has lost its worker, and waits for another.

    Args:
        cfg: the configuration of experiments.search.
        name: of the study, which is created where there is none.

    Raises:
        UserError: a value is invalid, or the study was begun with other settings.
    """

    def __init__(self, cfg: DictConfig, name: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        base = OmegaConf.masked_copy(cfg, list(compose("train")))
        base.step = base.experiment = None  # a trial is no evidence for either
        price(base)  # refuses values out of range
        self.cfg, self.name, self.space = cfg, name, Space(base, cfg.space)
        _ = self.space.start  # refuses a space where nothing fits the budget
        try_sampler(cfg, self.space)
        self.claims = Claims(str(cfg.storage), Path(base.checkpoints.root, f"search-{name}"))
        digest = known_digest(base) or load(base)[1]
        self.store = Store(base.tracking)
        with self.claims.take(wait=True):
            self.storage = open_storage(str(cfg.storage))
            self.study = optuna.create_study(
                study_name=name,
                storage=self.storage,
                direction="maximize",
                pruner=build(cfg, "pruner"),
                load_if_exists=True,
            )
            begin_or_resume(self.study, cfg, self.space, digest)
            self.id = self.study.user_attrs[ID]
            self.parent = study_run(name, self.id, cfg, self.store)

    def work(self) -> None:
        """Take part until all trials are finished, those of other workers too."""
        while not self.finished():
            with ExitStack() as claim:
                if trial := self.take(claim):
                    self.train(trial)
            if trial is None:
                time.sleep(SECONDS)

    def place(self, number: int) -> str:
        """The name of a trial's claim, and of the folder for its checkpoint."""
        return f"{self.id}-{number}"

    def finished(self) -> bool:
        """Whether all trials are finished, those of other workers too."""
        trials = self.study.get_trials(deepcopy=False)
        return len(trials) >= self.cfg.trials and all(one.state.is_finished() for one in trials)

    def take(self, claim: ExitStack) -> optuna.Trial | None:
        """A trial, claimed until `claim` ends: an abandoned one, or else a new one.

        None while other workers train the last ones.
        """
        with self.claims.take(wait=True):
            self.release_abandoned()
            states = [trial.state for trial in self.study.get_trials(deepcopy=False)]
            if TrialState.WAITING not in states and len(states) >= self.cfg.trials:
                return None
            trial = self.ask(len(states))
            claim.enter_context(self.claims.take(self.place(trial.number), wait=True))
            return trial

    def release_abandoned(self) -> None:
        """Let the trials wait again whose workers are gone, with their number and checkpoint."""
        study_id = self.storage.get_study_id_from_name(self.name)
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            with self.claims.take(self.place(trial.number)) as free:
                if not free:
                    continue
                key = self.storage.get_trial_id_from_study_id_trial_number(study_id, trial.number)
                # it may have ended since we looked; while we hold the claim, it cannot
                if self.storage.get_trial(key).state == TrialState.RUNNING:
                    self.storage.set_trial_state_values(key, TrialState.WAITING)

    def ask(self, count: int) -> optuna.Trial:
        """Start a trial that waits, or else a new one; `count` trials exist.

        The random numbers follow from the seed and the count: workers draw different
        values, and one worker alone draws the same values again.
        """
        seed = np.random.SeedSequence([self.cfg.seed, count]).generate_state(1)[0]
        sampler = ConstrainedSampler(build(self.cfg, "sampler", seed=int(seed)), self.space)
        self.study.sampler = sampler
        trial = self.study.ask(self.space.distributions)
        if trial.number == count:
            trial.set_user_attr("rejected", sampler.rejected)
        return trial

    def train(self, trial: optuna.Trial) -> None:
        """Train a trial from its last checkpoint, if any, and tell the study its result."""
        cfg = self.configure(trial)
        [network], cost = prepare([cfg])
        trial.set_user_attr("parameters", cost.parameters)
        mark = {STUDY_ID: self.id, TRIAL: str(trial.number)}
        tags = {PARENT: self.parent, STUDY: self.name, "mlflow.source.name": "experiments.search"}
        found = next(iter(self.store.matching(mark)), None)
        folder = self.claims.folder / self.place(trial.number)
        member = Member(cfg.name, cfg, network, cost, folder, tags | mark, found)
        reports = Reports(trial, self.claims, self.cfg.smallest_above)
        fit([member], self.store, folder, callbacks=[reports], artifacts=False)
        self.claims.check()
        trial.set_user_attr("run", member.run.info.run_id)
        if member.run.info.status == "KILLED":
            self.study.tell(trial, state=TrialState.PRUNED)
            result = "stopped early"
        else:
            accuracy = 0.0 if member.failure else member.run.data.metrics["val/acc"]
            trial.set_user_attr("val_acc", accuracy)
            self.study.tell(trial, score(accuracy, cost.parameters, self.cfg.smallest_above))
            result = percent(accuracy)
        shutil.rmtree(folder, ignore_errors=True)
        self.show_progress(f"trial {trial.number}: {result}, {cost.parameters:,} parameters")

    def configure(self, trial: optuna.Trial | FrozenTrial) -> DictConfig:
        """The configuration of a trial."""
        cfg = self.space.configure(trial.params)
        cfg.seed = self.cfg.seed + trial.number  # else all would share one lucky seed
        cfg.name = f"{self.name}, trial {trial.number}"
        cfg.description = f"trial {trial.number} of the search {self.name}"
        return cfg

    def show_progress(self, line: str) -> None:
        """Announce the progress of the study; print it where no sweep shows it."""
        trials = self.study.get_trials(deepcopy=False)
        done = sum(trial.state.is_finished() for trial in trials)
        announce(epoch=done, epochs=max(self.cfg.trials, len(trials)), runs=[])
        for best in best_trials(self.study, 1):
            announce(val_acc=best.user_attrs["val_acc"])
            line += f"; best {percent(best.user_attrs['val_acc'])}, "
            line += f"{best.user_attrs['parameters']:,} parameters (trial {best.number})"
        if not is_job():
            print(f"[{done}/{self.cfg.trials}] {line}")

    def finish(self) -> None:
        """Train the best trials in full; log and print the results."""
        tried = len(self.study.get_trials(deepcopy=False))
        found = []
        with self.claims.take(wait=True):
            for trial in best_trials(self.study, self.cfg.final.networks):
                step = write_step(self.configure(trial), self.cfg.final, trial, self.name, tried)
                found.append((trial, step))
            log_study(self.study, self.store, self.parent, [])
        finalists = train_finalists(
            found, self.cfg.final.seeds, self.claims, self.cfg.smallest_above
        )
        if finalists:
            announce(val_acc=finalists[0].mean)
            with self.claims.take(wait=True):
                log_study(self.study, self.store, self.parent, finalists, self.cfg.smallest_above)
        text = report(self.study, finalists, self.cfg.smallest_above)
        text += f"\nto look at it: make ui, then {self.store.url(self.parent)}"
        announce(name=f"worker {self.cfg.worker}", report=text)
        if not is_job():
            print(text)
