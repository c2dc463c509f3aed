"""One worker of a search: takes trials and runs of finalists until all of them are done."""

import json
import shutil
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import optuna
from mlflow.entities import Param
from omegaconf import DictConfig, OmegaConf
from optuna.trial import TrialState

from experiments.cli.config import build, flatten
from experiments.cli.errors import UserError
from experiments.cli.jobs import announce, is_job
from experiments.cli.keys import JUDGEMENT, RESULT, select
from experiments.cli.text import percent
from experiments.stats.target import reaches
from experiments.study.claims import Claims
from experiments.study.finals import best_trials, train_finalists, write_step
from experiments.study.results import in_words, log_study, report
from experiments.study.samplers.constrained import Within
from experiments.study.space import Space
from experiments.study.storage import open_storage
from experiments.study.trial import Place, run_trial
from experiments.tracking.store import STUDY, Store

SECONDS = 1  # between looks at the trials of other workers
ASKED = "asked"  # of a study: what it was begun with


class Worker:
    """One of the processes that work on a study.

    What it does at a time, one trial or one run of a finalist, it holds a claim on. What is
    marked as running while nobody holds a claim on it is a dead worker's, and is given back.
    """

    def __init__(self, cfg: DictConfig, base: DictConfig, name: str, space: Space) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        self.cfg, self.base, self.name, self.space = cfg, base, name, space
        self.claims = Claims(str(cfg.storage), base.checkpoints.root)
        self.store = Store(base.tracking)
        with self.claims.take(f"search-{name}", wait=True):
            self.storage = open_storage(str(cfg.storage))
            self.study = optuna.create_study(
                study_name=name,
                storage=self.storage,
                direction="maximize",
                pruner=build(cfg, "pruner"),
                load_if_exists=True,
            )
            self.hold_to_what_was_asked()
            self.parent = study_run(name, cfg, self.store)

    def hold_to_what_was_asked(self) -> None:
        """Raises UserError where the study was begun with another space, data or schedule."""
        asked = select(self.base, RESULT, JUDGEMENT)
        asked = {key: value for key, value in asked.items() if value is not None}
        asked |= {f"space.{key}": repr(d) for key, d in self.space.distributions.items()}
        asked["smallest_above"] = self.cfg.smallest_above
        asked = json.loads(json.dumps(asked))
        begun = self.study.user_attrs.get(ASKED)
        if begun is None:
            if start := self.space.start():
                self.study.enqueue_trial(start, skip_if_exists=True)
            self.study.set_user_attr(ASKED, asked)
            return
        for key in sorted(asked.keys() | begun.keys()):
            if asked.get(key) != begun.get(key):
                raise UserError(
                    f"the study {self.name} was begun with {key}={begun.get(key)}, which is now "
                    f"{asked.get(key)}: give the new one a name of its own, study=NAME"
                )

    def work(self) -> None:
        """Take part until all trials are finished, those of other workers too."""
        while True:
            with self.next_trial() as trial:
                if trial is None:
                    return
                self.run(trial)

    @contextmanager
    def next_trial(self) -> Iterator[optuna.Trial | None]:
        """A trial that is ours until the context ends; None when all are finished."""
        with ExitStack() as claim:
            trial = None
            while trial is None:
                with self.claims.take(f"search-{self.name}", wait=True):
                    self.give_back()
                    trials = self.study.get_trials(deepcopy=False)
                    states = [trial.state for trial in trials]
                    if TrialState.WAITING in states or len(trials) < self.cfg.trials:
                        trial = self.ask(len(trials))
                        claim.enter_context(self.claims.take(self.place(trial.number), wait=True))
                        break
                    if TrialState.RUNNING not in states:
                        break
                time.sleep(SECONDS)
            yield trial

    def place(self, number: int) -> str:
        return f"search-{self.name}/{number}"

    def give_back(self) -> None:
        """Let the trials wait again whose workers are no more."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            with self.claims.take(self.place(trial.number)) as free:
                # it may have ended since we looked; while we hold the claim, it cannot
                if free and self.storage.get_trial(trial._trial_id).state == TrialState.RUNNING:
                    self.storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)

    def ask(self, count: int) -> optuna.Trial:
        """A trial that waits, or else a new one.

        What is drawn for it follows from the seed and the number of trials so far, so that
        workers do not draw alike, and one worker alone draws the same again.
        """
        seed = np.random.SeedSequence([self.cfg.seed, count]).generate_state(1)[0]
        sampler = build(self.cfg, "sampler", seed=int(seed))
        objections = (self.space.objection, self.space.refusal)
        self.study.sampler = Within(sampler, self.space.distributions, objections)
        trial = self.study.ask(self.space.distributions)
        if trial.number == count:
            trial.set_user_attr("rejected", self.study.sampler.rejected)
        return trial

    def run(self, trial: optuna.Trial) -> None:
        """Train a trial, and tell the study."""
        cfg = self.configure(trial)
        folder = Path(cfg.checkpoints.root, self.place(trial.number))
        place = Place(self.name, self.store, self.parent, folder)
        accuracy = run_trial(cfg, trial, place, self.claims)
        self.claims.check()
        if accuracy is None:
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            trial.set_user_attr("val_acc", accuracy)
            self.study.tell(trial, self.score(accuracy, trial.user_attrs["parameters"]))
        shutil.rmtree(folder, ignore_errors=True)
        self.tell_progress(trial, accuracy)

    def configure(self, trial: optuna.Trial | optuna.trial.FrozenTrial) -> DictConfig:
        cfg = self.space.configure(trial.params)
        cfg.seed = self.cfg.seed + trial.number  # else all would share one lucky seed
        cfg.name = f"{self.name}, trial {trial.number}"
        cfg.description = f"trial {trial.number} of the search {self.name}"
        return cfg

    def score(self, accuracy: float, parameters: int) -> float:
        """What the study maximises: the accuracy; or, where the smallest network above a
        target is wanted, above it 1 and more, the more the smaller."""
        target = self.cfg.smallest_above
        return 1 + 1 / parameters if target and reaches(accuracy, target) else accuracy

    def tell_progress(self, trial: optuna.Trial, accuracy: float | None) -> None:
        trials = self.study.get_trials(deepcopy=False)
        done = sum(trial.state.is_finished() for trial in trials)
        best = next(iter(best_trials(self.study, 1)), None)
        if best:
            announce(val_acc=best.user_attrs["val_acc"])
        announce(epoch=done, epochs=max(self.cfg.trials, len(trials)), runs=[])
        if not is_job():
            result = "stopped early" if accuracy is None else percent(accuracy)
            size = f"{trial.user_attrs['parameters']:,} parameters"
            lead = ""
            if best:
                lead = f"; best {percent(best.user_attrs['val_acc'])}"
                lead += f", {best.user_attrs['parameters']:,} parameters (trial {best.number})"
            print(f"[{done}/{self.cfg.trials}] trial {trial.number}: {result}, {size}{lead}")

    def finish(self) -> None:
        """Train the best trials in full, and leave the results where they are looked for."""
        tried = len(self.study.get_trials(deepcopy=False))
        found = []
        with self.claims.take(f"search-{self.name}", wait=True):
            for trial in best_trials(self.study, self.cfg.final.networks):
                step = write_step(self.configure(trial), self.cfg.final, trial, self.name, tried)
                found.append((trial, step))
            log_study(self.study, self.store, self.parent, [])
        text = in_words(self.study)
        if found:
            finalists = train_finalists(self.cfg, self.name, found, self.claims)
            text = report(self.study, finalists)
            announce(val_acc=finalists[0].mean)
            with self.claims.take(f"search-{self.name}", wait=True):
                log_study(self.study, self.store, self.parent, finalists)
        text += f"\nto look at it: make ui, then {self.store.url(self.parent)}"
        announce(name=f"worker {self.cfg.worker}", report=text)
        if not is_job():
            print(text)


def study_run(name: str, cfg: DictConfig, store: Store) -> str:
    """The id of the study's MLflow run, above those of its trials; made if there is none."""
    query = f"tags.{STUDY} = '{name}' and tags.kind = 'study'"
    found = store.client.search_runs([store.experiment_id], query)
    if found:
        return found[0].info.run_id
    tags = {STUDY: name, "kind": "study", "mlflow.source.name": "experiments.search"}
    run = store.client.create_run(store.experiment_id, tags=tags, run_name=f"search {name}")
    shown = ["trials", "smallest_above", "final", "sampler", "pruner", "budget", "trainer", "seed"]
    described = flatten(OmegaConf.masked_copy(cfg, shown))
    described |= {f"space.{key}": value for key, value in cfg.space.items()}
    params = [Param(key, str(value)) for key, value in described.items()]
    store.client.log_batch(run.info.run_id, params=params)
    store.client.set_terminated(run.info.run_id)  # nothing runs in it
    return run.info.run_id
