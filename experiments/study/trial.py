"""One trial of a search: a network trained within its budget, as a nested run in MLflow."""

import logging
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytorch_lightning as pl
from mlflow.entities import Run
from omegaconf import DictConfig

from experiments.budget.cost import check
from experiments.budget.network import design
from experiments.cli.jobs import announce
from experiments.data.images import load
from experiments.study.claims import Claims
from experiments.tracking.parent_runs import PARENT
from experiments.tracking.run import TrackedRun, logged_to
from experiments.tracking.store import STUDY, Store
from experiments.training.history import History
from experiments.training.trainer import LOG, fit_from, make_module, make_trainer, origin
from models.lightning.classifier import Diverged

TRIAL = "trial"  # a tag
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Place:
    """Where a trial is kept: its study, that study's MLflow run, and the folder of its
    checkpoints."""

    study: str
    store: Store
    parent: str
    folder: Path

    def find(self, number: int) -> Run | None:
        """The MLflow run of a trial, if it was begun before."""
        query = f"tags.{STUDY} = '{self.study}' and tags.{TRIAL} = '{number}'"
        runs = self.store.client.search_runs([self.store.experiment_id], query)
        return next(iter(runs), None)


def run_trial(cfg: DictConfig, trial: optuna.Trial, place: Place, claims: Claims) -> float | None:
    """Train to the last epoch, from the last checkpoint if there is one.

    Returns:
        The accuracy of the last epoch on the images held out, 0 to 1; 0 if it diverged,
        None if it was stopped early.

    Raises:
        UserError: over budget; nothing has been read then.
    """
    network, cost = design(cfg)
    check(cost, cfg)
    trial.set_user_attr("parameters", cost.parameters)
    trainer = make_trainer(cfg, place.folder)
    data, digest = load(cfg)
    module = make_module(cfg, network, len(data.train.labels))
    found = place.find(trial.number)
    tags = {
        PARENT: place.parent,
        STUDY: place.study,
        TRIAL: trial.number,
        "mlflow.source.name": "experiments.search",
        **origin(cfg, digest, trainer),
    }
    tracked = TrackedRun(place.store, cfg.name, tags, resume=found)
    trial.set_user_attr("run", tracked.id)
    announce(runs=[tracked.id], checkpoints=str(place.folder))
    with tracked as run, logged_to(place.folder / LOG, run):
        if found is None or "parameters" not in found.data.metrics:
            run.describe(cfg, cost.figures())
        history = History(run)
        trainer.callbacks[:0] = [history, Reports(trial, claims)]
        try:
            fit_from(place.folder / "last.ckpt", trainer, module, data)
        except optuna.TrialPruned as pruned:
            place.store.patiently(history.send)
            run.fail(str(pruned), "KILLED")
            return None
        except Diverged as error:
            place.store.patiently(history.send)
            run.fail(f"Diverged: {error}")
            return 0.0
        place.store.patiently(history.send)
        run.tag("arithmetic", module.learn.backend)
        seconds = sum(row["epoch_seconds"] for row in history.epochs)
        run.log_figures({"train_seconds": seconds}, time=history.ended[-1])
        return history.epochs[-1]["val/acc"]


class Reports(pl.Callback):
    """Tells the study of each epoch, and stops a trial that does worse than others did."""

    def __init__(self, trial: optuna.Trial, claims: Claims) -> None:
        self.trial, self.claims = trial, claims
        before = trial.study.get_trials(deepcopy=False)[trial.number]
        self.told = set(before.intermediate_values)  # by a worker that died

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.prune(trainer.current_epoch, trainer.max_epochs)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.claims.check()
        epoch = trainer.current_epoch + 1
        if epoch not in self.told:
            self.trial.report(float(trainer.callback_metrics["val/acc"]), epoch)
            self.told.add(epoch)
        self.prune(epoch, trainer.max_epochs)

    def prune(self, epoch: int, epochs: int) -> None:
        if epoch in self.told and epoch < epochs and self.trial.should_prune():
            raise optuna.TrialPruned(f"stopped after epoch {epoch}: other trials did better")
