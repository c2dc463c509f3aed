"""One trial of a search: a network trained within its budget, as a nested run in MLflow."""

from dataclasses import dataclass
from pathlib import Path

import optuna
import pytorch_lightning as pl
from mlflow.entities import Run
from omegaconf import DictConfig

from experiments.budget.cost import check
from experiments.budget.network import design
from experiments.study.claims import Claims
from experiments.tracking.parent_runs import PARENT
from experiments.tracking.store import STUDY, Store
from experiments.training.fit import Member, Stopped, fit

TRIAL = "trial"  # a tag


@dataclass(frozen=True)
class Place:
    """Where a trial is kept: its study, that study's MLflow run, and a folder for checkpoints."""

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
        The accuracy of the last epoch on the images held out, 0 to 1; 0 if training diverged,
        None if it was stopped early.

    Raises:
        UserError: over budget; nothing has been read then.
    """
    network, cost = design(cfg)
    check(cost, cfg)
    trial.set_user_attr("parameters", cost.parameters)
    tags = {
        PARENT: place.parent,
        STUDY: place.study,
        TRIAL: trial.number,
        "mlflow.source.name": "experiments.search",
    }
    found = place.find(trial.number)
    member = Member(cfg.name, cfg, network, cost, place.folder, tags, found)
    reports = Reports(trial, claims)
    fit([member], place.store, place.folder, callbacks=[reports], artifacts=False)
    trial.set_user_attr("run", member.run.info.run_id)
    if member.run.info.status == "KILLED":
        return None
    return 0.0 if member.failure else member.run.data.metrics["val/acc"]


class Reports(pl.Callback):
    """Reports each epoch to the study, and stops a trial that does worse than others did."""

    def __init__(self, trial: optuna.Trial, claims: Claims) -> None:
        self.trial, self.claims = trial, claims
        before = trial.study.get_trials(deepcopy=False)[trial.number]
        self.reported = set(before.intermediate_values)  # by a worker that died

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.prune(trainer.current_epoch, trainer.max_epochs)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.claims.check()
        epoch = trainer.current_epoch + 1
        if epoch not in self.reported:
            self.trial.report(float(trainer.callback_metrics["val/acc"]), epoch)
            self.reported.add(epoch)
        self.prune(epoch, trainer.max_epochs)

    def prune(self, epoch: int, epochs: int) -> None:
        if epoch in self.reported and epoch < epochs and self.trial.should_prune():
            raise Stopped(f"stopped after epoch {epoch}: other trials did better")
