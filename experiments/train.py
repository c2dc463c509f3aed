"""Train one network within its budget, and keep the run in MLflow.

python -m experiments.train step=s13 seed=0
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments.identity import config_hash, name_experiment, run_name
from experiments.program import UserError, program, refuse_password
from experiments.sweep import announce, is_job

if TYPE_CHECKING:  # imported where they are needed, so that a typo or a budget stops a run at once
    import pytorch_lightning as pl
    from mlflow.entities import Run
    from torch import nn

    from experiments.budget import Cost
    from experiments.tracking import Store


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
    from experiments.training import LOG, fit_from, make_module, make_trainer, start_anew
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


def describe(
    cfg: DictConfig, store: Store, cost: Cost, digest: str, trainer: pl.Trainer
) -> dict[str, str | None]:
    """The tags of a run: what it is, and what it came from."""
    from experiments.family import PARENT, parent_run
    from experiments.tracking import CONFIG_HASH
    from experiments.training import origin

    return {
        CONFIG_HASH: config_hash(cfg),
        PARENT: parent_run(cfg, store, cost.figures()),
        "step": cfg.step,
        "experiment": cfg.experiment,
        "mlflow.source.name": "experiments.train",
        **origin(cfg, digest, trainer),
    }


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
