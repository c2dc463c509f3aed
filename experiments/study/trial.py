"""What a trial tells its study while it trains."""

import optuna
import pytorch_lightning as pl

from experiments.study.claims import Claims
from experiments.training.fit import Stopped


class Reports(pl.Callback):
    """Reports each epoch to the study, and stops a trial that does worse than others did."""

    def __init__(self, trial: optuna.Trial, claims: Claims) -> None:
        self.trial, self.claims = trial, claims

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.prune(trainer.current_epoch, trainer.max_epochs)

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.claims.check()
        epoch = trainer.current_epoch + 1
        # Optuna keeps the first report, if a worker that died has sent one
        self.trial.report(float(trainer.callback_metrics["val/acc"]), epoch)
        self.prune(epoch, trainer.max_epochs)

    def prune(self, epoch: int, epochs: int) -> None:
        if epoch < epochs and self.trial.should_prune():
            raise Stopped(f"stopped after epoch {epoch}: other trials did better")
