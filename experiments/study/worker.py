"""One worker of a search: takes the runs of the race until it is over."""

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
from pytorch_lightning.callbacks import LambdaCallback

from experiments.budget.network import prepare, price
from experiments.cli.config import build
from experiments.cli.jobs import announce, is_job
from experiments.cli.text import duration, percent
from experiments.data.digest import known_digest
from experiments.data.images import load
from experiments.stats.forecast import SLOPE
from experiments.study.claims import Claims
from experiments.study.proposals import Found, Likeliest
from experiments.study.race import (
    FINAL,
    FIRST,
    FULL,
    SHORT,
    Network,
    Rules,
    Run,
    answer,
    wanted,
)
from experiments.study.results import NAMES, log_study, report, study_run
from experiments.study.settings import ID, begin_or_resume, try_sampler
from experiments.study.space import Space
from experiments.study.steps import train_step, write_step
from experiments.study.storage import open_storage
from experiments.tracking.parent_runs import PARENT
from experiments.tracking.store import STUDY, STUDY_ID, Store
from experiments.training.fit import Member, fit

SECONDS = 1  # between looks at the runs of other workers
TRIAL, STAGE, RUN = "trial", "stage", "study.run"  # tags


class Worker:
    """One of the processes that work on a study.

    A network is a trial of the study. The result of each run is an attribute of the study; what
    comes next follows from these alone (see race.py). A worker holds a claim on its run.

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
        self.rules = Rules(
            cfg.smallest_above, cfg.trials, cfg.full, cfg.final.networks, cfg.final.seeds
        )
        self.epochs = cfg.trainer.max_epochs, cfg.final.max_epochs, cfg.final.max_epochs
        self.before_finals = cfg.trials * self.epochs[SHORT] + cfg.full * self.epochs[FULL]
        try_sampler(cfg, self.space)
        self.claims = Claims(str(cfg.storage), Path(base.checkpoints.root, f"search-{name}"))
        digest = known_digest(base) or load(base)[1]
        self.store = Store(base.tracking)
        with self.claims.take(wait=True):
            self.storage = open_storage(str(cfg.storage))
            self.study = optuna.create_study(
                study_name=name, storage=self.storage, direction="maximize", load_if_exists=True
            )
            begin_or_resume(self.study, cfg, self.space, digest)
            self.id = self.study.user_attrs[ID]
            self.parent = study_run(name, self.id, cfg, self.store)
            self.found = self.look()

    def work(self) -> None:
        """Take part until the race is over."""
        goes_on = True
        while goes_on:
            with ExitStack() as claim:
                goes_on, run = self.take(claim)
                if run:
                    self.train(run)
            if goes_on and not run:
                time.sleep(SECONDS)

    def take(self, claim: ExitStack) -> tuple[bool, Run | None]:
        """Whether the race goes on, and the first run that nobody works on, claimed until `claim`
        ends; None while other workers train all that are wanted."""
        with self.claims.take(wait=True):
            self.found = self.look()
            runs = wanted(self.found.networks, self.found.results, self.rules)
            for following in runs:
                run = following or self.ask()
                ours = claim.enter_context(self.claims.take(self.place(run)))
                if ours and self.key(run) not in self.study.user_attrs:
                    return True, run
            return bool(runs), None

    def look(self) -> Found:
        """What the study holds: its networks, and the results of their runs.

        A trial is told once its short run has ended. One without a network lost its worker
        between its number and its values, and fails.
        """
        found = Found([], [], {})
        attributes = self.study.user_attrs
        for trial in self.study.get_trials(deepcopy=False):
            running, parameters = not trial.state.is_finished(), trial.user_attrs.get("parameters")
            short = attributes.get(f"run {trial.number} {SHORT} 0")
            if running and parameters and short:
                value = score(short["accuracy"], parameters, self.rules.target)
                self.study.tell(trial.number, value)
            elif trial.state == TrialState.RUNNING and not parameters:
                self.study.tell(trial.number, state=TrialState.FAIL)
            if parameters:
                found.trials.append(trial)
                found.networks.append(Network(parameters, self.space.features(trial.params)))
        places = {trial.number: place for place, trial in enumerate(found.trials)}
        for name in attributes:
            if name.startswith("run "):
                number, stage, seed = map(int, name.split()[1:])
                found.results[Run(places[number], stage, seed)] = attributes[name]["accuracy"]
        return found

    def ask(self) -> Run:
        """Add a network; its first run.

        The random numbers follow from the seed and the count: workers draw different
        values, and one worker alone draws the same values again.
        """
        count = len(self.found.networks)
        seed = np.random.SeedSequence([self.cfg.seed, count]).generate_state(1)[0]
        known = self.found if count >= FIRST else None
        usual = build(self.cfg, "sampler", seed=int(seed))
        self.study.sampler = sampler = Likeliest(usual, self.space, known, self.rules.target)
        trial = self.study.ask(self.space.distributions)
        trial.set_user_attr("rejected", sampler.rejected)
        trial.set_user_attr("parameters", self.space.count(trial.params))
        self.found = self.look()
        return Run(count, SHORT, 0)

    def key(self, run: Run) -> str:
        """The attribute of the study that holds the result of a run."""
        return f"run {self.found.trials[run.network].number} {run.stage} {run.seed}"

    def place(self, run: Run) -> str:
        """The name of a run's claim, and of the folder for its checkpoint."""
        return f"{self.id}-{self.key(run).removeprefix('run ').replace(' ', '-')}"

    def train(self, run: Run) -> None:
        """Train a run from its last checkpoint, if any, and keep its result."""
        trial, began = self.found.trials[run.network], time.monotonic()
        folder = self.claims.folder / self.place(run)
        if run.stage == FINAL:
            member = train_step(self.write_step(trial), run.seed)
        else:
            member = self.train_network(trial, run, folder)
        self.claims.check()
        accuracy = None if member.failure else member.run.data.metrics["val/acc"]
        result = {"accuracy": accuracy, "run": member.run.info.run_id}
        self.study.set_user_attr(self.key(run), result)
        shutil.rmtree(folder, ignore_errors=True)
        size, done = self.found.networks[run.network].parameters, len(self.found.results) + 1
        announce(epoch=done, epochs=max(done, self.cfg.trials + self.cfg.full), runs=[])
        if accuracy:
            announce(val_acc=accuracy)
        if not is_job():
            line = f"[{done}] trial {trial.number}, {NAMES[run.stage]}, seed {run.seed}: "
            line += f"{percent(accuracy) or 'diverged'}, {size:,} parameters"
            each = (time.monotonic() - began) / self.epochs[run.stage]
            known = [one for one in (*self.found.results, run) if one.stage != FINAL]
            left = self.before_finals - sum(self.epochs[one.stage] for one in known)
            soon = left > 0 and run.stage != FINAL
            until = f"; about {duration(left * each)} to the finals" if soon else ""
            print(f"{line} ({duration(time.monotonic() - began)}{until})", flush=True)

    def train_network(self, trial: FrozenTrial, run: Run, folder: Path) -> Member:
        """A run on training images, judged by images held out."""
        cfg = self.configure(trial, full=run.stage == FULL)
        cfg.seed += run.seed
        [network], cost = prepare([cfg])
        mark = {STUDY_ID: self.id, RUN: self.key(run)}
        tags = {PARENT: self.parent, STUDY: self.name, "mlflow.source.name": "experiments.search"}
        tags |= mark | {TRIAL: trial.number, STAGE: NAMES[run.stage]}
        begun = next(iter(self.store.matching(mark)), None)
        member = Member(cfg.name, cfg, network, cost, folder, tags, begun)
        if begun is None or begun.info.status != "FINISHED":
            checks = LambdaCallback(on_train_epoch_end=lambda *_: self.claims.check())
            fit([member], self.store, folder, callbacks=[checks])
        return member

    def configure(self, trial: FrozenTrial, full: bool) -> DictConfig:
        """The configuration of a short or a full run."""
        cfg = self.space.configure(trial.params)
        if full:
            cfg.trainer.max_epochs = self.cfg.final.max_epochs
        cfg.name = f"{self.name}, trial {trial.number}"
        cfg.description = f"trial {trial.number} of the search {self.name}"
        return cfg

    def write_step(self, trial: FrozenTrial) -> str:
        """Write the step file of a finalist; its name."""
        cfg = self.configure(trial, full=True)
        cfg.target.val_acc = self.rules.target or cfg.target.val_acc
        found = f"Found by a search: {cfg.name}, one of {self.cfg.trials} networks tried."
        return write_step(
            cfg, found, Path(self.cfg.final.steps, f"{self.name}-{trial.number}.yaml")
        )

    def plan(self) -> str:
        """What will be done at most, in a line."""
        cfg, final = self.cfg, self.cfg.final
        last, aim = final.networks * final.seeds * final.max_epochs, "the most accurate network"
        if cfg.smallest_above is not None:
            aim = f"the smallest network that reaches {percent(cfg.smallest_above)}"
        return (
            f"{self.name}: {aim}. {cfg.trials} networks with {cfg.trainer.max_epochs} epochs each, "
            f"{cfg.full} full runs of {final.max_epochs} epochs, then one seed after the other of "
            f"{final.networks} finalists until their verdicts are certain: "
            f"{self.before_finals:,} epochs and at most {last:,} more"
        )

    def finish(self) -> None:
        """Log and print the results."""
        with self.claims.take(wait=True):
            self.found = self.look()
            found = answer(self.found.networks, self.found.results, self.rules)
            steps = {n: self.write_step(self.found.trials[n]) for n in found.decisions}
            text = report(self.found, self.rules, found, steps)
            log_study(self.study, self.store, self.parent, self.found, self.rules, text)
        text += f"\nto look at it: make ui, then {self.store.url(self.parent)}"
        announce(name=f"worker {self.cfg.worker}", report=text)
        if not is_job():
            print(text)


def score(accuracy: float | None, parameters: int, target: float | None) -> float:
    """What a sampler learns of a network: its accuracy; where the smallest is wanted, the one that
    it would have with 1,000 parameters, so that sizes compete as equals."""
    accuracy = accuracy or 0.0  # of a network that diverged
    return accuracy if target is None else 1 - (1 - accuracy) * (parameters / 1000) ** -SLOPE
