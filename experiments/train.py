"""Train one network within its budget, and keep the run in MLflow.

python -m experiments.train step=s13 seed=0
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments.program import UserError, build, program

if TYPE_CHECKING:  # imported where they are needed, so that a typo or a budget stops a run at once
    import pytorch_lightning as pl
    from mlflow.entities import Run
    from torch import nn

    from experiments.budget import Cost
    from experiments.tracking import Store
    from models.classifier import Classifier

LOG = "train.log"


@program("train")
def main(cfg: DictConfig) -> None:
    for group in ("step", "experiment"):
        cfg[group] = HydraConfig.get().runtime.choices[group]
    train(cfg)


def train(cfg: DictConfig) -> None:
    """Train the run that a configuration describes, unless the store has it already.

    Raises:
        UserError: the configuration, the budget, the data or the store forbids it,
            or the training diverged.
    """
    from experiments import budget
    from experiments.design import design, rehearse

    network, cost = design(cfg)
    budget.check(cost, cfg)
    rehearse(cfg)

    from filelock import FileLock, Timeout
    from mlflow.exceptions import MlflowException

    from experiments.identity import config_hash
    from experiments.tracking import Store, reason

    store = Store(cfg.tracking)
    identity = config_hash(cfg)
    folder = Path(cfg.checkpoints.root, identity)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock", blocking=False):
            found = None if cfg.force else store.find(identity)
            if found is not None and found.info.status == "FINISHED":
                show(cfg, store, found.info.run_id, folder, "trained before (force=true: again)")
                return
            run_id = fit(cfg, network, cost, store, folder, found)
            show(cfg, store, run_id, folder, "trained")
    except Timeout:
        raise UserError(f"this very run is being trained by another process, in {folder}") from None
    except MlflowException as error:
        raise UserError(
            f"the tracking store failed: {reason(error)}; the run's checkpoints and log are in "
            f"{folder}, and the same command goes on from there"
        ) from error
    except OSError as error:
        raise UserError(f"{error.filename or folder}: {error.strerror or error}") from error


def fit(
    cfg: DictConfig, network: nn.Module, cost: Cost, store: Store, folder: Path, found: Run | None
) -> str:
    """Train to the last epoch, from the last checkpoint in `folder` if there is one.

    Returns:
        The id of the MLflow run: that of `found`, or of a new one.
    """
    from experiments.artifacts import log_artifacts
    from experiments.data import load
    from experiments.history import History
    from experiments.identity import config_hash, display_name
    from experiments.provenance import provenance
    from experiments.tracking import CONFIG_HASH, TrackedRun, logged_to
    from models.classifier import Diverged

    if cfg.force:
        for path in (*folder.glob("*.ckpt"), *folder.glob(LOG)):
            path.unlink()
    trainer = make_trainer(cfg, folder)
    data, digest = load(cfg)
    module = make_module(cfg, network)
    tags = {
        CONFIG_HASH: config_hash(cfg),
        "step": cfg.step,
        "experiment": cfg.experiment,
        "data.digest": digest,
        "mlflow.source.name": "experiments.train",
        "mlflow.note.content": cfg.description,
        **provenance(trainer.strategy.root_device),
    }
    name = f"{display_name(cfg)}, seed {cfg.seed}"
    with TrackedRun(store, name, tags, resume=found) as run, logged_to(folder / LOG, run):
        if found is None:
            run.log_parameters(cfg)
            run.log_figures(cost.figures())
        history = History(run)
        trainer.callbacks.insert(0, history)  # ahead of the checkpoint, which keeps it
        last = folder / "last.ckpt"
        try:
            trainer.fit(module, data, ckpt_path=str(last) if last.exists() else None)
        except SystemExit:  # Lightning's answer to Ctrl-C
            if not trainer.interrupted:
                raise
            rest = f"goes on from {last}" if last.exists() else "starts it again"
            raise KeyboardInterrupt(f"; the same command {rest}") from None
        except Diverged as error:
            advice = f"lower optimizer.lr, now {cfg.optimizer.lr}; the log is {folder / LOG}"
            raise UserError(f"{error}: {advice}") from error
        log_artifacts(cfg, run, cost, module, data, history, folder / "best.ckpt")
    return run.id


def make_module(cfg: DictConfig, network: nn.Module) -> Classifier:
    """The Lightning module that trains a network as the configuration says."""
    from models.classifier import Classifier

    return Classifier(
        network,
        optimizer=build(cfg, "optimizer"),
        scheduler=build(cfg, "scheduler"),
        augmentation=build(cfg, "augmentation"),
        mean=cfg.data.mean,
        std=cfg.data.std,
        seed=cfg.seed,
    )


def make_trainer(cfg: DictConfig, folder: Path) -> pl.Trainer:
    """A Lightning trainer that keeps the last and the best epoch in `folder`.

    Raises:
        UserError: the accelerator is not there, or a value is refused.
    """
    from pytorch_lightning.callbacks import ModelCheckpoint

    from experiments.identity import display_name
    from experiments.progress import ProgressLine

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    callbacks = [
        ModelCheckpoint(
            folder,
            filename="best",
            monitor="val/acc",
            mode="max",
            save_last=True,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
    ]
    if sys.stderr.isatty():
        callbacks.insert(0, ProgressLine(f"{display_name(cfg)}, seed {cfg.seed}"))
    trainer = build(
        cfg,
        "trainer",
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=sys.stderr.isatty(),
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    if trainer.world_size > 1:
        raise UserError(
            "trainer.devices must be 1: so small a network trains fastest on one device"
        )
    return trainer


def show(cfg: DictConfig, store: Store, run_id: str, folder: Path, event: str) -> None:
    """Print the verdict on a finished run, from what the store has of it."""
    from experiments import verdict
    from experiments.identity import display_name

    run = store.client.get_run(run_id)
    device = f"{run.data.tags['device']} ({run.data.tags['device.name']})"
    verdict.show(cfg, f"{display_name(cfg)}, seed {cfg.seed}: {event}", run.data.metrics, device)
    print(f"to look at it: make ui, then {store.url(run_id)}")
    print(f"checkpoints and log: {folder}")


if __name__ == "__main__":
    main()
