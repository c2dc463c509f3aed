"""One worker of a search: takes trials, then runs of finalists, until all of them are finished."""

import shutil
import time
import warnings
from pathlib import Path

import optuna
from omegaconf import DictConfig
from optuna.trial import FrozenTrial, TrialState

from experiments.budget.network import design
from experiments.cli.config import build
from experiments.cli.jobs import announce, is_job
from experiments.cli.text import percent
from experiments.stats.target import reaches
from experiments.study.claims import Claims
from experiments.study.finals import best_trials, train_finalists, write_step
from experiments.study.queue import Queue, rehearse
from experiments.study.results import in_words, log_study, report
from experiments.study.settings import begin_or_resume, trial_settings
from experiments.study.space import Space
from experiments.study.storage import open_storage
from experiments.study.study_run import study_run
from experiments.study.trial import Place, run_trial
from experiments.tracking.store import Store

SECONDS = 1  # between looks at the trials of other workers


class Worker:
    """One of the processes that work on a study.

    Args:
        cfg: the configuration of experiments.search.
        name: of the study, which is created where there is none.

    Raises:
        UserError: a value is invalid, or the study was begun with other settings.
    """

    def __init__(self, cfg: DictConfig, name: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        base = trial_settings(cfg)
        design(base)  # refuses values out of range
        self.cfg, self.name, self.space = cfg, name, Space(base, cfg.space)
        rehearse(cfg, self.space)
        self.checkpoints = Path(base.checkpoints.root)
        self.claims = Claims(str(cfg.storage), base.checkpoints.root)
        self.store = Store(base.tracking)
        with self.claims.take(f"search-{name}", wait=True):
            storage = open_storage(str(cfg.storage))
            self.study = optuna.create_study(
                study_name=name,
                storage=storage,
                direction="maximize",
                pruner=build(cfg, "pruner"),
                load_if_exists=True,
            )
            begin_or_resume(self.study, cfg, self.space)
            self.parent = study_run(name, cfg, self.store)
        self.queue = Queue(self.study, storage, self.claims, cfg, self.space)

    def work(self) -> None:
        """Take part until all trials are finished, those of other workers too."""
        while not self.queue.finished():
            with self.queue.take() as trial:
                if trial is not None:
                    self.train(trial)
            if trial is None:
                time.sleep(SECONDS)

    def train(self, trial: optuna.Trial) -> None:
        """Train a trial, and tell the study its result."""
        cfg = self.configure(trial)
        folder = self.checkpoints / self.queue.place(trial.number)
        place = Place(self.name, self.store, self.parent, folder)
        accuracy = run_trial(cfg, trial, place, self.claims)
        self.claims.check()
        if accuracy is None:
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            trial.set_user_attr("val_acc", accuracy)
            self.study.tell(trial, self.score(accuracy, trial.user_attrs["parameters"]))
        shutil.rmtree(folder, ignore_errors=True)
        self.show_progress(trial, accuracy)

    def configure(self, trial: optuna.Trial | FrozenTrial) -> DictConfig:
        """The configuration of a trial."""
        cfg = self.space.configure(trial.params)
        cfg.seed = self.cfg.seed + trial.number  # else all would share one lucky seed
        cfg.name = f"{self.name}, trial {trial.number}"
        cfg.description = f"trial {trial.number} of the search {self.name}"
        return cfg

    def score(self, accuracy: float, parameters: int) -> float:
        """What the study maximises: the accuracy, 0 to 1; with `smallest_above`, a network that
        reaches it scores above 1, and a smaller one more."""
        target = self.cfg.smallest_above
        return 1 + 1 / parameters if target and reaches(accuracy, target) else accuracy

    def show_progress(self, trial: optuna.Trial, accuracy: float | None) -> None:
        """Announce the progress of the study; print it where no sweep shows it."""
        trials = self.study.get_trials(deepcopy=False)
        done = sum(trial.state.is_finished() for trial in trials)
        announce(epoch=done, epochs=max(self.cfg.trials, len(trials)), runs=[])
        result = "stopped early" if accuracy is None else percent(accuracy)
        line = f"trial {trial.number}: {result}, {trial.user_attrs['parameters']:,} parameters"
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
        with self.queue.claim():
            for trial in best_trials(self.study, self.cfg.final.networks):
                step = write_step(self.configure(trial), self.cfg.final, trial, self.name, tried)
                found.append((trial, step))
            log_study(self.study, self.store, self.parent, [])
        text = in_words(self.study)
        if found:
            finalists = train_finalists(self.cfg, self.name, found, self.claims)
            text = report(self.study, finalists)
            announce(val_acc=finalists[0].mean)
            with self.queue.claim():
                log_study(self.study, self.store, self.parent, finalists)
        text += f"\nto look at it: make ui, then {self.store.url(self.parent)}"
        announce(name=f"worker {self.cfg.worker}", report=text)
        if not is_job():
            print(text)
