"""Train one network within its budget, and keep the run in MLflow.

python -m experiments.train step=s13 seed=0
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments.identity import config_hash, name_experiment, run_name
from experiments.program import UserError, build, program, refuse_password
from experiments.sweep import announce, is_job

if TYPE_CHECKING:  # imported where they are needed, so that a typo or a budget stops a run at once
    import pytorch_lightning as pl
    from mlflow.entities import Run
    from torch import nn

    from experiments.budget import Cost
    from experiments.tracking import Store
    from models.classifier import Classifier
    from models.learner import Loss

LOG = "train.log"
PAYS = 5_000  # batches: torch.compile saves a quarter of 20 ms each, and takes 20 s at first


@program("train")
def main(cfg: DictConfig) -> str:
    cfg = identified(cfg)
    if any(values is not None for values in cfg.fused.values()):
        from experiments.fused import train_together

        return train_together(cfg)
    return train(cfg)


def identified(cfg: DictConfig) -> DictConfig:
    """The configuration, with what Hydra alone knows of it: what was chosen, and its name."""
    hydra = HydraConfig.get()
    cfg.step, cfg.experiment = hydra.runtime.choices.step, hydra.runtime.choices.experiment
    cfg.name = cfg.name or name_experiment(cfg.step, cfg.experiment, hydra.overrides.task)
    return cfg


def train(cfg: DictConfig) -> str:
    """Train the run that a configuration describes, and show it.

    Returns, and raises: see `ensure`.
    """
    outcome, store, run, folder = ensure(cfg)
    announce(val_acc=run.data.metrics["val/acc"])
    if not is_job():
        show(cfg, store, run, folder, outcome)
    return outcome


def ensure(cfg: DictConfig) -> tuple[str, Store, Run, Path]:
    """Train the run that a configuration describes, unless the store has it already.

    Returns:
        "trained" or "trained before", the store, the run, and its checkpoints' folder.

    Raises:
        UserError: the configuration, the budget, the data or the store forbids it,
            or the training diverged.
    """
    from experiments import budget
    from experiments.design import design, rehearse

    announce(name=run_name(cfg))
    refuse_password(cfg)
    network, cost = design(cfg)
    budget.check(cost, cfg)
    rehearse(cfg)

    from filelock import FileLock

    from experiments.family import PARENT, sum_up
    from experiments.tracking import Store

    store = Store(cfg.tracking)
    identity = config_hash(cfg)
    folder = Path(cfg.checkpoints.root, identity)
    with explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # a sweep that is started again waits for what is left of the one before
        with FileLock(folder / "lock", blocking=is_job()):
            run = None if cfg.force else store.find(identity)
            outcome = "trained before"
            if run is None or run.info.status != "FINISHED":
                outcome = "trained"
                run = fit(cfg, network, cost, store, folder, run)
        sum_up(cfg, store, run.data.tags[PARENT])
    return outcome, store, run, folder


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn what can go wrong with a lock, a store or a disk into one line."""
    from filelock import Timeout
    from mlflow.exceptions import MlflowException

    from experiments.tracking import reason

    try:
        yield
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
) -> Run:
    """Train to the last epoch, from the last checkpoint in `folder` if there is one.

    Returns:
        The MLflow run: `found` again, or a new one.
    """
    from experiments.data import load
    from experiments.history import History
    from experiments.tracking import TrackedRun, logged_to
    from models.classifier import Diverged

    if cfg.force:
        start_anew(folder)
    trainer = make_trainer(cfg, folder)
    data, digest = load(cfg)
    module = make_module(cfg, network, len(data.train.labels))
    tags = describe(cfg, store, cost, digest, trainer)
    tracked = TrackedRun(store, run_name(cfg), tags, resume=found)
    announce(runs=[tracked.id], checkpoints=str(folder))
    with tracked as run, logged_to(folder / LOG, run):
        if found is None or "parameters" not in found.data.metrics:
            run.describe(cfg, cost.figures())
        history = History(run)
        trainer.callbacks.insert(0, history)  # ahead of the checkpoint, which keeps it
        try:
            fit_from(folder / "last.ckpt", trainer, module, data)
        except Diverged as error:
            advice = f"lower optimizer.lr, now {cfg.optimizer.lr}; the log is {folder / LOG}"
            raise UserError(f"{error}: {advice}") from error
        run.tag("arithmetic", module.learn.way)
        from experiments.artifacts import log_artifacts  # not before training: it takes a second

        log_artifacts(cfg, run, cost, module, data, history, folder / "best.ckpt")
    return store.client.get_run(run.id)


def start_anew(folder: Path) -> None:
    """Forget what was trained in a folder."""
    for path in (*folder.glob("*.ckpt"), *folder.glob(LOG)):
        path.unlink()


def describe(
    cfg: DictConfig, store: Store, cost: Cost, digest: str, trainer: pl.Trainer
) -> dict[str, str | None]:
    """The tags of a run: what it is, and what it came from."""
    from experiments.family import PARENT, parent_run
    from experiments.tracking import CONFIG_HASH

    return {
        CONFIG_HASH: config_hash(cfg),
        PARENT: parent_run(cfg, store, cost.figures()),
        "step": cfg.step,
        "experiment": cfg.experiment,
        "mlflow.source.name": "experiments.train",
        **origin(cfg, digest, trainer),
    }


def origin(cfg: DictConfig, digest: str, trainer: pl.Trainer) -> dict[str, str | None]:
    """The tags that say what a run came from."""
    from experiments.provenance import provenance

    held = cfg.data.holdout
    return {
        "data.digest": digest,
        "validated_on": "test images" if held is None else f"{held} of the training images",
        "mlflow.note.content": cfg.description,
        **provenance(trainer.strategy.root_device),
    }


def fit_from(
    last: Path, trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule
) -> None:
    """Train to the last epoch, from a checkpoint if there is one.

    Raises:
        UserError: there is one that is damaged, or holds programs.
    """
    start = str(last) if last.exists() else None
    try:
        trainer.fit(module, data, ckpt_path=start, weights_only=True)
    except UnpicklingError as error:
        raise UserError(
            f"{last} is damaged, or holds more than figures and is not trusted; remove it, or "
            "train anew with force=true"
        ) from error
    except SystemExit:  # Lightning's answer to Ctrl-C
        if not trainer.interrupted:
            raise
        rest = f"goes on from {last}" if last.exists() else "starts it again"
        raise KeyboardInterrupt(f"; the same command {rest}") from None


def make_module(cfg: DictConfig, network: nn.Module, images: int) -> Classifier:
    """The Lightning module that trains a network on so many images as the configuration says."""
    from models.classifier import Classifier

    compiled = "all" if pays(cfg, images) else "native" if cfg.compile == "auto" else None
    return Classifier(
        network,
        optimizer=build(cfg, "optimizer"),
        scheduler=build(cfg, "scheduler"),
        augmentation=build(cfg, "augmentation"),
        mean=cfg.data.mean,
        std=cfg.data.std,
        batch_size=cfg.data.batch_size,
        compiled=compiled,
        loss=make_loss(cfg),
        seed=cfg.seed,
        batches=whole_training(cfg, images),
    )


def make_loss(cfg: DictConfig) -> Loss:
    """What training minimises: cross entropy, where the configuration names nothing else."""
    from torch.nn import functional as F

    return build(cfg, "loss") or F.cross_entropy


def whole_training(cfg: DictConfig, images: int) -> int:
    """Batches of a run on so many images; the last, smaller one of each epoch counts."""
    return cfg.trainer.max_epochs * math.ceil(images / cfg.data.batch_size)


def pays(cfg: DictConfig, images: int) -> bool:
    """Whether torch.compile is to be used where our own kernels are not."""
    batches = cfg.trainer.max_epochs * (images // cfg.data.batch_size)
    return batches >= PAYS if cfg.compile == "auto" else cfg.compile


def make_trainer(cfg: DictConfig, folder: Path, together: int | None = None) -> pl.Trainer:
    """A Lightning trainer that keeps the last and the best epoch in `folder`.

    Args:
        together: how many runs it trains as one program; of those, it keeps the last epoch only.

    Raises:
        UserError: the accelerator is not there, or a value is refused.
    """
    from pytorch_lightning.callbacks import ModelCheckpoint

    from experiments.progress import ProgressLine

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    callbacks = [
        ModelCheckpoint(
            folder,
            filename="best",
            monitor=None if together else "val/acc",
            mode="max",
            save_last=True,
            save_on_train_epoch_end=True,
            enable_version_counter=False,
        )
    ]
    watched = sys.stderr.isatty() and not is_job()
    if watched:
        name = f"{cfg.name}, {together} runs" if together else run_name(cfg)
        callbacks.insert(0, ProgressLine(name))
    trainer = build(
        cfg,
        "trainer",
        callbacks=callbacks,
        logger=False,
        enable_progress_bar=watched,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    if trainer.world_size > 1:
        raise UserError(
            "trainer.devices must be 1: so small a network trains fastest on one device"
        )
    for name in ("gradient_clip_val", "accumulate_grad_batches"):
        if cfg.trainer.get(name):
            raise UserError(f"trainer.{name} is not supported; leave it out")
    if getattr(trainer.precision_plugin, "scaler", None) is not None:
        raise UserError("trainer.precision=16-mixed is not supported; use bf16-mixed or 32-true")
    return trainer


def show(cfg: DictConfig, store: Store, run: Run, folder: Path, outcome: str) -> None:
    """Print the verdict on a finished run, from what the store has of it."""
    from experiments import verdict

    device = f"{run.data.tags['device']} ({run.data.tags['device.name']})"
    again = " (force=true trains it again)" if outcome == "trained before" else ""
    title = f"{run_name(cfg)}: {outcome}{again}"
    verdict.show(cfg, title, run.data.metrics, device)
    if run.data.tags["arithmetic"].startswith("eager, as "):
        print(f"slower than it could be: {run.data.tags['arithmetic']}")
    print(f"to look at it: make ui, then {store.url(run.info.run_id)}")
    print(f"checkpoints and log: {folder}")


if __name__ == "__main__":
    main()
