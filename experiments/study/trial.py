"""What a trial tells its study while it trains."""

import optuna
import pytorch_lightning as pl

from experiments.study.claims import Claims
from experiments.training.fit import Stopped


class Reports(pl.Callback):
    """Reports each epoch to the study, and stops a trial that does worse than others did.

    Where the smallest network above a target is wanted, these are only networks no larger:
    else the pruner would stop those that are small and just good enough.
    """

    def __init__(self, trial: optuna.Trial, claims: Claims, target: float | None = None) -> None:
        self.trial, self.claims, self.target = trial, claims, target

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.prune(trainer.current_epoch, trainer.max_epochs)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.claims.check()
        epoch = trainer.current_epoch + 1
        # Optuna keeps the first report, if a worker that died has sent one
        self.trial.report(float(trainer.callback_metrics["val/acc"]), epoch)
        self.prune(epoch, trainer.max_epochs)

    def prune(self, epoch: int, epochs: int) -> None:
        if epoch >= epochs or not self.trial.should_prune():
            return
        if self.target is None or self.is_dominated():
            raise Stopped(f"stopped after epoch {epoch}: other trials did better")

    def is_dominated(self) -> bool:
        """Whether a network no larger was at least as accurate after the same epoch."""
        trials = self.trial.study.get_trials(deepcopy=False)
        reports = trials[self.trial.number].intermediate_values
        if not reports:
            return False
        epoch, size = max(reports), self.trial.user_attrs["parameters"]
        return any(
            other.number != self.trial.number
            and other.user_attrs.get("parameters", size + 1) <= size
            and other.intermediate_values.get(epoch, -1) >= reports[epoch]
            for other in trials
        )
