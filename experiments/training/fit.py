"""One run, from its configuration to its finished MLflow run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from experiments.cli.errors import UserError, refuse_password
from experiments.cli.jobs import announce, is_job
from experiments.tracking.identity import config_hash, run_name

if TYPE_CHECKING:  # imported where they are needed, so that a typo or a budget stops a run at once
    import pytorch_lightning as pl
    from mlflow.entities import Run
    from torch import nn

    from experiments.budget.cost import Cost
    from experiments.tracking.store import Store


def ensure(cfg: DictConfig) -> tuple[str, Store, Run, Path]:
    """Train the run that a configuration describes, unless the store has it already.

    Returns:
        "trained" or "trained before", the store, the run, and its checkpoints' folder.

    Raises:
        UserError: the configuration, the budget, the data or the store forbids it,
            or the training diverged.
    """
    from experiments.budget.cost import check
    from experiments.budget.network import design, rehearse

    announce(name=run_name(cfg))
    refuse_password(cfg)
    network, cost = design(cfg)
    check(cost, cfg)
    rehearse(cfg)

    from filelock import FileLock

    from experiments.tracking.parent_runs import PARENT, sum_up
    from experiments.tracking.store import Store

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

    from experiments.tracking.store import reason

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
    from experiments.data.images import load
    from experiments.tracking.run import TrackedRun, logged_to
    from experiments.training.history import History
    from experiments.training.trainer import LOG, fit_from, make_module, make_trainer, start_anew
    from models.lightning.classifier import Diverged

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
        run.tag("arithmetic", module.learn.backend)
        from experiments.training.artifacts import (
            log_artifacts,  # not before training: it takes a second
        )

        log_artifacts(cfg, run, cost, module, data, history, folder / "best.ckpt")
    return store.client.get_run(run.id)


def describe(
    cfg: DictConfig, store: Store, cost: Cost, digest: str, trainer: pl.Trainer
) -> dict[str, str | None]:
    """The tags of a run: what it is, and what it came from."""
    from experiments.tracking.parent_runs import PARENT, parent_run
    from experiments.tracking.store import CONFIG_HASH
    from experiments.training.trainer import origin

    return {
        CONFIG_HASH: config_hash(cfg),
        PARENT: parent_run(cfg, store, cost.figures()),
        "step": cfg.step,
        "experiment": cfg.experiment,
        "mlflow.source.name": "experiments.train",
        **origin(cfg, digest, trainer),
    }
