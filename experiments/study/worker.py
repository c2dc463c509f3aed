"""One worker of a search: takes the runs of the race until it is over."""

import math
import shutil
import time
import warnings
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import optuna
import torch
from hydra import compose
from omegaconf import DictConfig, OmegaConf
from optuna.trial import FrozenTrial, TrialState
from pytorch_lightning.callbacks import LambdaCallback

from experiments.budget.network import build_networks
from experiments.cli import tables
from experiments.cli.config import build
from experiments.cli.jobs import announce, is_job
from experiments.cli.text import duration, percent, pluralize, unusual
from experiments.data.digest import known_digest
from experiments.data.images import load
from experiments.stats.forecast import SLOPE
from experiments.study.plan import before_finals
from experiments.study.proposals import RaceSampler, try_sampler
from experiments.study.race import FINAL, SHORT, Network, Race, Rules, Run
from experiments.study.results import NAMES, log_study, study_run
from experiments.study.space import Space
from experiments.study.steps import refuse_folder, refuse_foreign, train_step, write_step
from experiments.study.storage import FINALISTS, ID, Claims, begin_or_resume, open_storage
from experiments.tracking.identity import DIGEST, PARTIAL
from experiments.tracking.provenance import provenance
from experiments.tracking.store import FUSED, PARENT, STUDY, STUDY_ID, Store
from experiments.training.fit import fit
from experiments.training.resume import Training
from experiments.training.trainer import device_of

FINAL_SEEDS = 1000  # from the configured seed to the first of a finalist: none has chosen it
SECONDS = 1  # between looks at the runs of other workers


class Worker:
    """One of the processes that work on a study, which is created where there is none.

    A network is a trial of the study. The result of each run and the finalists are attributes of
    the study; what comes next follows from these alone (see race.py). A worker holds a claim on
    its run.
    UserError: a value is invalid, or the study was begun with other settings.
    """

    def __init__(self, cfg: DictConfig, name: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        base = OmegaConf.masked_copy(cfg, list(compose("train")))
        base.step = base.experiment = None  # a trial is no evidence for either
        self.cfg, self.name, self.space = cfg, name, Space(base, cfg.space)
        start = self.space.start  # refuses a space where nothing can be trained
        device = device_of(base)  # refuses one that is not here, before a study or a run is begun
        self.unusual: list[str] = []  # what trained its runs, where that is worth a line
        self.steps, final = Path(cfg.final.steps), cfg.final
        limits = cfg.trials, cfg.full, final.networks, final.seeds
        self.rules = Rules(cfg.smallest_above, *limits, final.margin)
        self.epochs = cfg.trainer.max_epochs, final.max_epochs, final.max_epochs  # of each stage
        try_sampler(cfg, self.space)
        self.claims = Claims(str(cfg.storage), Path(base.checkpoints.root, f"search-{name}"))
        digest = known_digest(base) or load(base)[1]
        self.store = Store(base.tracking)
        with self.claims.take(wait=True):
            storage = open_storage(str(cfg.storage))
            self.study = optuna.create_study(
                storage=storage, study_name=name, direction="maximize", load_if_exists=True
            )
            if final.networks:
                refuse_folder(self.steps, name, self.study.user_attrs.get(ID, "none yet"))
            self.id = begin_or_resume(self.study, cfg, self.space, digest)
            self.parent = study_run(name, self.id, cfg, self.store)
            self.read_study()
        if start is None and self.space.share(own := self.space.own) == math.inf and not is_job():
            tables.say(f"begins with another network: {self.space.why_infeasible(own)}")
        self.print_expected_time(device, digest)

    def print_expected_time(self, device: torch.device, digest: str) -> None:
        """Say how long the search takes, if runs in the store tell how long an epoch takes here."""
        here, whole = provenance(device), self.cfg.copy()
        whole.data.holdout = None  # runs that hold no images out take hardly longer
        device_tags = {key: here[key] for key in ("device.name", "device.threads")}
        digests = {digest, known_digest(whole)} - {None}
        ran = [run for each in digests for run in self.store.matching({DIGEST: each} | device_tags)]
        alone = [run for run in ran if not {FUSED, PARTIAL} & run.data.tags.keys()]
        times = [run.data.metrics.get("epoch_seconds") for run in alone]
        known, left = [each for each in times if each is not None], self.epochs_left()
        if known and left > 0:
            epoch, runs = float(np.median(known)), pluralize(len(known), "run")
            shared = ", for all workers together" if is_job() else ""
            text = (
                f"about {duration(left * epoch)} to the finals{shared}, at {epoch:.1f} s an epoch: "
                f"the median of {runs} in the store, on these images and this device"
            )
            announce(expected=text)
            tables.print_report([] if is_job() else [text])

    def work(self) -> None:
        """Take part until the race is over."""
        over = False
        while not over:
            with ExitStack() as claim:
                over, run = self.take(claim)
                if run:
                    self.train(run)
            if not run and not over:  # other workers train all that are wanted
                time.sleep(SECONDS)

    def take(self, claim: ExitStack) -> tuple[bool, Run | None]:
        """Whether the race is over, and the first run that nobody works on, if any, claimed until
        `claim` ends."""
        with self.claims.take(wait=True):
            self.read_study()
            wanted, finalists = self.race.wanted(), self.race.finalists
            for following in wanted:
                run = following or self.ask()
                ours = claim.enter_context(self.claims.take(self.place(run)))
                if ours and self.key(run) not in self.study.user_attrs:
                    if run.stage == FINAL and run.network not in finalists:
                        entered = [self.trial(n).number for n in (*finalists, run.network)]
                        self.study.set_user_attr(FINALISTS, entered)
                    return False, run
            if wanted:
                return False, None
            # a seed of a finalist that is out counts as well, if another worker trains it
            ahead = [Run(n, FINAL, len(self.race.finals(n))) for n in finalists]
            return all(claim.enter_context(self.claims.take(self.place(r))) for r in ahead), None

    def read_study(self) -> None:
        """Read what the study holds: its networks, the results of their runs, and the finalists.
        Optuna learns the value of a trial once its short run has ended. A trial without a
        network fails: its worker was killed before it had chosen one."""
        attributes, networks, results = self.study.user_attrs, [], {}
        for trial in self.study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            parameters = trial.user_attrs.get("parameters")
            if not parameters:
                self.study.tell(trial.number, state=TrialState.FAIL)
            elif short := attributes.get(f"run {trial.number} {SHORT} 0"):
                value = sampler_score(short["accuracy"], parameters, self.rules.target)
                self.study.tell(trial.number, value)
        for trial in self.study.get_trials(deepcopy=False):
            if parameters := trial.user_attrs.get("parameters"):
                networks.append(Network(parameters, self.space.features(trial.params), trial))
        places = {network.trial.number: place for place, network in enumerate(networks)}
        for name, result in attributes.items():
            if name.startswith("run "):
                number, stage, seed = map(int, name.split()[1:])
                results[Run(places[number], stage, seed)] = result["accuracy"]
        finalists = [places[number] for number in attributes.get(FINALISTS, ())]
        self.race = Race(self.rules, networks, results, finalists)

    def ask(self) -> Run:
        """Add a network; its first run. The random numbers follow from the seed and the count:
        workers draw different values, and one worker alone draws the same values again."""
        count = len(self.race.networks)
        seed = np.random.SeedSequence([self.cfg.seed, count]).generate_state(1)[0]
        usual = build(self.cfg, "sampler", seed=int(seed))
        self.study.sampler = sampler = RaceSampler(usual, self.space, self.race)
        trial = self.study.ask(self.space.distributions)
        trial.set_user_attr("rejected", sampler.rejected)
        trial.set_user_attr("parameters", self.space.count(trial.params))
        self.read_study()
        return Run(count, SHORT, 0)

    def trial(self, network: int) -> FrozenTrial:
        return self.race.networks[network].trial

    def key(self, run: Run) -> str:
        """The attribute of the study that holds the result of a run."""
        return f"run {self.trial(run.network).number} {run.stage} {run.seed}"

    def place(self, run: Run) -> str:
        """The name of a run's claim, and of the folder for its checkpoint."""
        return f"{self.id}-{self.key(run).removeprefix('run ').replace(' ', '-')}"

    def train(self, run: Run) -> None:
        """Train a run from its last checkpoint, if any, and keep its result."""
        began, folder = time.monotonic(), self.claims.folder / self.place(run)
        number, seed = self.trial(run.network).number, self.seed_of(run)
        name = f"worker {self.cfg.worker}, trial {number}, {NAMES[run.stage]}, seed {seed}"
        announce(name=name)
        # another worker that was killed, or a trial that diverged, may have closed it
        self.store.client.update_run(self.parent.id, status="RUNNING")
        if run.stage == FINAL:
            training = train_step(self.write_step(run.network), seed)
        else:
            training = self.train_network(run, folder)
        self.claims.check()
        if new := [text for text in unusual(training.run.data.tags) if text not in self.unusual]:
            self.unusual += new
            announce(backend=self.unusual)
            tables.print_report([] if is_job() else new)
        accuracy = None if training.failure else training.run.data.metrics["val/acc"]
        result = {"accuracy": accuracy, "run": training.run.info.run_id}
        self.study.set_user_attr(self.key(run), result)
        shutil.rmtree(folder, ignore_errors=True)
        self.print_result(run, accuracy, time.monotonic() - began)

    def print_result(self, run: Run, accuracy: float | None, seconds: float) -> None:
        """Say what a run gave, to the sweep or on the screen, and how long it goes on."""
        done, cfg = len(self.race.results) + 1, self.cfg
        race = done / max(done, cfg.trials + cfg.full)
        # between runs the study's own is what there is to close
        announce(race=race, runs=[self.parent.id], checkpoints=str(self.claims.folder))
        if accuracy:
            announce(val_acc=accuracy)
        if is_job():
            return
        left = self.epochs_left(run)
        until = f"; about {duration(left * seconds / self.epochs[run.stage])} to the finals"
        print(
            f"[{done}] trial {self.trial(run.network).number}, {NAMES[run.stage]}, "
            f"seed {self.seed_of(run)}: {percent(accuracy) or 'diverged'}, "
            f"{self.race.networks[run.network].parameters:,} parameters "
            f"({duration(seconds)}{until if left > 0 and run.stage != FINAL else ''})",
            flush=True,
        )

    def epochs_left(self, *ended: Run) -> int:
        """Of all runs before those of finalists, without those that have ended."""
        known = (run.stage for run in (*self.race.results, *ended) if run.stage != FINAL)
        return before_finals(self.cfg) - sum(self.epochs[stage] for stage in known)

    def train_network(self, run: Run, folder: Path) -> Training:
        """A run on training images, judged by images held out."""
        cfg = self.configure(run.network, run.stage)
        cfg.seed = self.seed_of(run)
        [network], cost = build_networks([cfg])
        mark = {STUDY_ID: self.id, "study.run": self.key(run)}
        tags = mark | {PARENT: self.parent.id, STUDY: self.name, "stage": NAMES[run.stage]}
        tags |= {
            "trial": self.trial(run.network).number,
            "mlflow.source.name": "experiments.search",
        }
        begun = next(iter(self.store.matching(mark)), None)
        training = Training(cfg.name, cfg, network, cost, folder, tags, begun)
        if not training.finished:
            checks = LambdaCallback(on_train_epoch_end=lambda *_: self.claims.check())
            fit([training], self.store, folder, callbacks=[checks])
        return training

    def seed_of(self, run: Run) -> int:
        """The seed that a run is trained with."""
        return self.cfg.seed + run.seed + FINAL_SEEDS * (run.stage == FINAL)

    def configure(self, network: int, stage: int) -> DictConfig:
        """The configuration of a network's runs in a stage."""
        trial = self.trial(network)
        cfg = self.space.configure(trial.params)
        if stage != SHORT:
            cfg.trainer.max_epochs = self.cfg.final.max_epochs
        cfg.name = f"trial {trial.number} of {self.name}"
        cfg.description = f"trial {trial.number} of the search {self.name}"
        return cfg

    def write_step(self, network: int) -> str:
        """Write the step file of a finalist; its name."""
        cfg, tried = self.configure(network, FINAL), len(self.race.networks)
        cfg.target.val_acc = self.rules.target or cfg.target.val_acc
        found = f"Found by a search: {cfg.name}, one of {tried} networks tried ({self.id})."
        path = self.steps / f"{self.name}-{self.trial(network).number}.yaml"
        refuse_foreign(path, self.id)
        return write_step(cfg, found, path)

    def finish(self) -> None:
        """Log and print the results."""
        with self.claims.take(wait=True):
            self.read_study()
            steps = {n: self.write_step(n) for n in self.race.answer().decisions}
            self.parent.forget_error(self.store.client.get_run(self.parent.id).data.tags)
            report = log_study(self.study, self.parent, self.race, steps, self.steps)
            for place in self.claims.folder.glob(f"{self.id}-*"):  # that claims have left
                with self.claims.take(place.name) as ours:
                    if ours:  # nobody trains there
                        shutil.rmtree(place, ignore_errors=True)
        report.append(f"to look at it: {self.store.how_to_open(self.parent.id)}")
        announce(name=f"worker {self.cfg.worker}", report=report)
        if not is_job():
            tables.print_report(report)


def sampler_score(accuracy: float | None, parameters: int, target: float | None) -> float:
    """What a sampler learns of a network: its accuracy; where the smallest is wanted, the one that
    it would have with 1,000 parameters, so that sizes compete as equals."""
    accuracy = accuracy or 0.0  # of a network that diverged
    return accuracy if target is None else 1 - (1 - accuracy) * (parameters / 1000) ** -SLOPE
