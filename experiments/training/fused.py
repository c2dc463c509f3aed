"""Several runs of one architecture as one program; each is a run of its own in MLflow."""

from __future__ import annotations

import hashlib
import itertools
import logging
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from filelock import FileLock
from omegaconf import DictConfig, ListConfig, OmegaConf

from experiments.budget.cost import check
from experiments.budget.network import design, rehearse
from experiments.cli.config import build
from experiments.cli.errors import UserError, refuse_password
from experiments.cli.jobs import announce, is_job
from experiments.data.images import ImageData, load
from experiments.tracking.identity import config_hash, run_name
from experiments.tracking.parent_runs import PARENT, sum_up
from experiments.tracking.run import TrackedRun, logged_to
from experiments.tracking.store import FUSED, Store
from experiments.training.artifacts import log_artifacts
from experiments.training.fit import describe, explained
from experiments.training.history import History
from experiments.training.trainer import (
    LOG,
    fit_from,
    make_loss,
    make_module,
    make_trainer,
    pays,
    start_anew,
    whole_training,
)
from models.lightning.fused import FusedClassifier
from models.networks.stack import unstacked

if TYPE_CHECKING:
    from mlflow.entities import Run
    from torch import nn

    from experiments.budget.cost import Cost

KEYS = {"lr": "optimizer.lr", "dropout": "model.dropout", "seed": "seed"}

log = logging.getLogger(__name__)


def members(cfg: DictConfig) -> list[DictConfig]:
    """The configuration of each run that `fused` asks for: all combinations of its values.

    Raises:
        UserError: `fused` is none that can be trained at once.
    """
    values: dict[str, list[Any]] = {}
    for name, given in cfg.fused.items():
        if isinstance(given, ListConfig) and given and len(set(given)) == len(given):
            values[name] = list(given)
        elif name == "seed" and type(given) is int and given > 0:
            values[name] = list(range(cfg.seed, cfg.seed + given))
        elif given is not None:
            number = " or a number of seeds" if name == "seed" else ""
            raise UserError(f"fused.{name} must be a list of different values{number}, not {given}")
    if 0 in values.get("dropout", ()):
        raise UserError("fused.dropout: a network without dropout is another one; leave 0 out")
    runs = []
    for combination in itertools.product(*(values.get(name, [None]) for name in KEYS)):
        run = cfg.copy()
        run.fused = dict.fromkeys(KEYS)
        for name, value in zip(KEYS, combination, strict=True):
            if value is not None:
                OmegaConf.update(run, KEYS[name], value)
                if name != "seed":
                    run.name = f"{run.name}, {KEYS[name]}={value}"
        runs.append(run)
    return runs


def train_together(cfg: DictConfig) -> str:
    """Train the runs that `fused` asks for, but for those that the store has already.

    Returns:
        "trained", or "trained before".

    Raises:
        UserError: as of `train`.
    """
    runs = members(cfg)
    announce(name=f"{cfg.name}, {len(runs)} runs at once")
    refuse_password(cfg)
    designs = [design(run) for run in runs]
    check(designs[0][1], cfg)
    for run in runs:
        rehearse(run)
    store = Store(cfg.tracking)
    folders = [Path(cfg.checkpoints.root, config_hash(run)) for run in runs]
    with explained(folders[0]), ExitStack() as locks:
        for folder in sorted(folders):  # in one order, so that two sweeps cannot block each other
            folder.mkdir(parents=True, exist_ok=True)
            locks.enter_context(FileLock(folder / "lock", blocking=is_job()))
        found = [None if cfg.force else store.find(config_hash(run)) for run in runs]
        missing = [i for i, run in enumerate(found) if run is None or run.info.status != "FINISHED"]
        identity = hashlib.sha256("".join(folders[i].name for i in missing).encode()).hexdigest()
        shared = Path(cfg.checkpoints.root, f"fused-{identity[:12]}")
        if missing:
            networks = [designs[i][0] for i in missing]
            some = [runs[i] for i in missing], [folders[i] for i in missing]
            fit_together(*some, networks, designs[0][1], store, shared)
        done = [store.find(config_hash(run), fused=shared.name) for run in runs]
        parents = {run.data.tags[PARENT]: member for run, member in zip(done, runs, strict=True)}
        for parent, member in parents.items():
            sum_up(member, store, parent)
    show(runs, done, store)
    failed = [run.info.run_name for run in done if run.info.status != "FINISHED"]
    if failed:
        raise UserError(f"the training loss became no number: {'; '.join(failed)}")
    announce(val_acc=sum(run.data.metrics["val/acc"] for run in done) / len(done))
    return "trained" if missing else "trained before"


def fit_together(
    runs: list[DictConfig],
    folders: list[Path],
    networks: list[nn.Module],
    cost: Cost,
    store: Store,
    shared: Path,
) -> None:
    """Train runs to the last epoch, from the checkpoint in `shared` if there is one."""
    cfg = runs[0]
    shared.mkdir(parents=True, exist_ok=True)
    if cfg.force:
        start_anew(shared)
    trainer = make_trainer(cfg, shared, together=len(runs))
    data, digest = load(cfg)
    data.fused_seeds = [run.seed for run in runs]
    on_gpu = trainer.strategy.root_device.type == "cuda"
    module = FusedClassifier(
        networks,
        [build(run, "optimizer") for run in runs],
        scheduler=build(cfg, "scheduler"),
        augmentation=build(cfg, "augmentation"),
        mean=cfg.data.mean,
        std=cfg.data.std,
        batch_size=cfg.data.batch_size,
        loss=make_loss(cfg),
        compiled="all" if on_gpu and pays(cfg, len(data.train.labels)) else None,
        batches=whole_training(cfg, len(data.train.labels)),
    )
    with ExitStack() as stack:
        tracked = []
        for run, folder in zip(runs, folders, strict=True):
            tags = describe(run, store, cost, digest, trainer) | {FUSED: shared.name}
            before = None if cfg.force else store.find(config_hash(run), fused=shared.name)
            one = stack.enter_context(TrackedRun(store, run_name(run), tags, resume=before))
            stack.enter_context(logged_to(folder / LOG, one))
            if before is None or "parameters" not in before.data.metrics:
                one.describe(run, cost.figures())
            tracked.append(one)
        announce(runs=[one.id for one in tracked], checkpoints=str(folders[0]))
        histories = Histories([History(one) for one in tracked])
        trainer.callbacks.insert(0, histories)
        fit_from(shared / "last.ckpt", trainer, module, data)
        ends = zip(runs, folders, histories.each, tracked, strict=True)
        for index, (run, folder, history, one) in enumerate(ends):
            finish(run, folder, history, one, index, module, networks[index], cost, data)
    for path in shared.glob("*.ckpt"):
        path.unlink()  # each run has its own now


def finish(
    cfg: DictConfig,
    folder: Path,
    history: History,
    run: TrackedRun,
    index: int,
    module: FusedClassifier,
    network: nn.Module,
    cost: Cost,
    data: ImageData,
) -> None:
    """Leave of one of the networks what is left of a run that was trained alone."""
    if not all(abs(row["train/loss"]) < float("inf") for row in history.epochs):
        run.fail("Diverged: the training loss became no number")
        return
    run.tag("arithmetic", module.learn.backend)
    alone = make_module(cfg, network, len(data.train.labels))
    names = list(network.state_dict())
    best = folder / "best.ckpt"
    network.load_state_dict(unstacked(module.best, index, names))
    torch.save({"state_dict": alone.state_dict()}, best)
    network.load_state_dict(unstacked(module.network.stacked(), index, names))
    log_artifacts(cfg, run, cost, alone, data, history, best)


class Histories(pl.Callback):
    """The History of every run of the program; they are sent now and then, as they are many.

    An epoch's seconds are a run's share of them.
    """

    SECONDS = 10  # between two

    def __init__(self, each: list[History]) -> None:
        self.each = each
        self.started = self.sent = 0.0
        self.rates: list[float] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, module: FusedClassifier) -> None:
        self.started = time.perf_counter()
        groups = trainer.optimizers[0].param_groups
        self.rates = [groups[index]["lr"] for index in module.group_of]

    def on_train_epoch_end(self, trainer: pl.Trainer, module: FusedClassifier) -> None:
        share = (time.perf_counter() - self.started) / len(self.each)
        losses = torch.stack(module.losses).cpu()
        for index, history in enumerate(self.each):
            row = {name: values[index] for name, values in module.figures.items()}
            row |= {"lr": self.rates[index], "epoch_seconds": share}
            history.add(row, losses[:, index])
        accuracies = module.figures["val/acc"]
        epoch = len(self.each[0].epochs)
        low, high = min(accuracies), max(accuracies)
        log.info("epoch %d of %d: val/acc %.4f to %.4f", epoch, trainer.max_epochs, low, high)
        if time.monotonic() - self.sent > self.SECONDS:
            for history in self.each:
                history.try_to_send()
            self.sent = time.monotonic()
        mean = sum(accuracies) / len(accuracies)
        announce(epoch=epoch, epochs=trainer.max_epochs, val_acc=mean)

    def state_dict(self) -> dict[str, Any]:
        return {"each": [history.state_dict() for history in self.each]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for history, kept in zip(self.each, state["each"], strict=True):
            history.load_state_dict(kept)


def show(runs: list[DictConfig], done: list[Run], store: Store) -> None:
    """Print the accuracy of each run, unless a sweep shows them."""
    if is_job():
        return
    from rich.console import Console
    from rich.table import Table

    from experiments.cli.text import percent

    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("run", "", "accuracy, last epoch", "best epoch"):
        table.add_column(column)
    for member, run in zip(runs, done, strict=True):
        figures = (percent(run.data.metrics.get(name)) for name in ("val/acc", "val/best_acc"))
        table.add_row(run_name(member), run.info.status.lower(), *figures)
    Console(highlight=False).print(table)
    parent = done[0].data.tags[PARENT]
    print(f"to look at them: make ui, then {store.url(parent)}")
