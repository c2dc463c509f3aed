"""The one sequence of a run, from its network to its finished MLflow run.

It serves a single run, several runs as one program, and the trials of a search.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from mlflow.entities import Run
from omegaconf import DictConfig
from torch import nn

from experiments.budget.cost import Cost
from experiments.cli.files import write
from experiments.cli.jobs import announce
from experiments.cli.text import against
from experiments.data.digest import known_digest
from experiments.data.images import ImageData, load
from experiments.tracking.identity import DIGEST, identity, run_name
from experiments.tracking.parent_runs import PARENT, parent_run, sum_up
from experiments.tracking.part_of_data import PARTIAL, part_of_data
from experiments.tracking.provenance import provenance
from experiments.tracking.run import TrackedRun, logged_to
from experiments.tracking.store import FUSED, Store
from experiments.tracking.wrong import Wrong, log_wrong
from experiments.training.checkpoints import LAST
from experiments.training.history import History
from experiments.training.resume import BEGUN, LOG, explained, find_run, locked, start_anew
from experiments.training.trainer import (
    device_of,
    fit_from,
    fuse,
    make_module,
    make_trainer,
    predict,
    separate,
    take_best,
)
from models.lightning.classifier import Classifier, Diverged

log = logging.getLogger(__name__)


@dataclass
class Member:
    """One run, trained alone or as a member of a program.

    Attributes:
        name: in the store.
        cfg: its configuration.
        network: with initial weights.
        folder: for its log and checkpoints.
        tags: its own in the store; without a parent run among them, it gets that of its seeds.
        run: in the store, if it was begun before; after training, with its results.
    """

    name: str
    cfg: DictConfig
    network: nn.Module
    cost: Cost
    folder: Path
    tags: dict[str, Any]
    run: Run | None = None

    @property
    def failure(self) -> str | None:
        """Why training failed and what to do, if it did."""
        if self.run.info.status == "FINISHED":
            return None
        advice = f"lower optimizer.lr, now {self.cfg.optimizer.lr}; the log is {self.folder / LOG}"
        return f"{self.name}: {self.run.data.tags['error']}: {advice}"


def train(
    cfgs: Sequence[DictConfig], networks: Sequence[nn.Module], cost: Cost, fused: bool = False
) -> tuple[str, Store, list[Member]]:
    """Train runs, but for those that the store has already.

    Args:
        cfgs: one, or if `fused`, those that are trained as one program.
        networks, cost: see `prepare`.

    Returns:
        "trained" or "trained before", the store, and the runs: FINISHED, or FAILED where the
        training diverged.

    Raises:
        UserError: the data, the device or the store cannot be used, or another process trains
            one of the runs.
    """
    device_of(cfgs[0])  # refuses one that is not here
    digest, images = known_digest(cfgs[0]), None
    if digest is None:  # damaged images are found before the store is asked
        images = load(cfgs[0])
        digest = images[1]
    store = Store(cfgs[0].tracking)
    members = []
    for cfg, network in zip(cfgs, networks, strict=True):
        own = identity(cfg, digest)
        tags = {
            **own,
            "step": cfg.step,
            "experiment": cfg.experiment,
            PARTIAL: part_of_data(cfg),
            "mlflow.source.name": "experiments.train",
        }
        folder = Path(cfg.checkpoints.root, "-".join(own.values()))
        members.append(Member(run_name(cfg), cfg, network, cost, folder, tags))
    folders = [member.folder for member in members]
    with explained(folders[0]), locked(folders):
        for member in members:
            if not member.cfg.force:
                member.run = find_run(store, member.tags, member.folder, member.folder)
        missing = [one for one in members if one.run is None or one.run.info.status != "FINISHED"]
        if missing:
            folder = share(missing, store) if fused else missing[0].folder
            if cfgs[0].force:
                start_anew(folder)
            fit(missing, store, folder, images)
            if fused:
                start_anew(folder)  # the weights of each run are in the store now
        for parent, cfg in {one.run.data.tags[PARENT]: one.cfg for one in members}.items():
            sum_up(cfg, store, parent)
    return "trained" if missing else "trained before", store, members


def share(members: list[Member], store: Store) -> Path:
    """Make runs members of one program; return the folder for its checkpoint.

    What was begun in another program starts again: half a run of each would be neither.
    """
    folders = "".join(member.folder.name for member in members)
    name = f"fused-{hashlib.sha256(folders.encode()).hexdigest()[:12]}"
    folder = members[0].folder.with_name(name)
    folder.mkdir(parents=True, exist_ok=True)
    for member in members:
        member.tags[FUSED] = name
        if not member.cfg.force:
            member.run = find_run(store, member.tags, member.folder, folder)
    return folder


def fit(
    members: list[Member],
    store: Store,
    folder: Path,
    images: tuple[ImageData, str] | None = None,
    callbacks: Sequence[pl.Callback] = (),
    artifacts: bool = True,
) -> None:
    """Train to the last epoch, from the checkpoint in `folder` if there is one.

    The store has each run as FINISHED afterwards, or FAILED if its training diverged.

    Args:
        members: one, or those that share a program.
        images: with their digest, if they have been read already.
        artifacts: whether runs leave figures, tables and a model, and with `data.holdout` are
            scored on the test images. Trials are not: they are judged by their last epoch.
    """
    cfg, fused = members[0].cfg, FUSED in members[0].tags
    device = device_of(cfg)
    data, digest = images or load(cfg)
    trained_on = len(data.train.labels)
    if cfg.trainer.get("overfit_batches"):
        data.shuffle = False  # the same batches in each epoch
    if fused:
        cfgs, networks = zip(*((member.cfg, member.network) for member in members), strict=True)
        data.fused_seeds = [each.seed for each in cfgs]  # batches in the order of each seed
        module = fuse(cfgs, networks, trained_on, device)
    else:
        module = make_module(cfg, members[0].network, trained_on)
    held_out = cfg.data.holdout
    tested = artifacts and held_out is not None
    origin = {
        DIGEST: digest,
        "validated_on": "test images" if held_out is None else f"{held_out} of the training images",
        "mlflow.note.content": cfg.description,
        **provenance(device),
    }
    with ExitStack() as stack:
        runs = []
        for member in members:
            if PARENT not in member.tags:
                figures = member.cost.figures()
                member.tags[PARENT] = parent_run(member.cfg, store, digest, figures)
            runs.append(stack.enter_context(tracked(member, store, origin)))
            write(folder / BEGUN.format(member.folder.name), runs[-1].id)
        announce(runs=[run.id for run in runs], checkpoints=str(members[0].folder))
        history = History(runs)
        trainer = make_trainer(cfg, folder, history, *callbacks)
        reason = None
        try:
            fit_from(folder / LAST, trainer, module, data)
        except Diverged as error:
            reason = f"Diverged: {error}"
        store.patiently(history.send)
        for index, (member, run) in enumerate(zip(members, runs, strict=True)):
            if failure := reason or history.divergence(index):
                log.error("%s: %s", member.name, failure)
                run.fail(failure)
                continue
            if fused:
                one = separate(module, index, member.cfg, member.network, best=tested)
            else:
                one = take_best(module, folder) if tested else module
            run.log_figures(history.summary(index), time=history.ended[-1])
            conclude(member, run, one, data, history, index, digest, artifacts)
    for member, run in zip(members, runs, strict=True):
        member.run = store.client.get_run(run.id)


def conclude(
    member: Member,
    run: TrackedRun,
    module: Classifier,
    data: ImageData,
    history: History,
    index: int,
    digest: str,
    artifacts: bool,
) -> None:
    """Score the weights that a run exports, once: on the test images, if others chose the epoch.

    Args:
        module: with these weights.
        index: of the run in `history`.
        artifacts: see `fit`.
    """
    cfg, epochs = member.cfg, history.epochs[index]
    run.tag("backend", history.trained_by[-1][1])
    if changes := history.changes():
        run.tag("backend.changes", changes)
    tested = artifacts and data.test is not None
    judged = data.test if tested else data.val
    predicted = predict(module, judged.images, data.eval_batch_size, data.val.images.device)
    wrong = (predicted != judged.labels.cpu()).nonzero().flatten().tolist()
    split = "test" if tested else "val"
    evidence = part_of_data(cfg) is None
    if evidence:
        log_wrong(run, Wrong(split=split, digest=digest, images=len(predicted), wrong=wrong))
    accuracy = epochs[-1]["val/acc"]
    if tested:
        accuracy = 1 - len(wrong) / len(predicted)
        run.log_figures({"test/acc": accuracy}, time=history.ended[-1])
    if evidence and (verdict := against(accuracy, cfg.target.val_acc)):
        run.tag("verdict", verdict)
    if artifacts:
        # not before: scikit-learn takes a while
        from experiments.training.artifacts import log_artifacts

        losses = torch.cat(history.losses)[:, index]
        log_artifacts(
            cfg, run, member.cost, module, judged, predicted, epochs, losses, history.batches
        )


@contextmanager
def tracked(member: Member, store: Store, origin: dict[str, Any]) -> Iterator[TrackedRun]:
    """The MLflow run of a member, with its description and its log; a new one, or `member.run`."""
    run = TrackedRun(store, member.name, member.tags | origin, resume=member.run)
    with run, logged_to(member.folder / LOG, run):
        if member.run is None or "parameters" not in member.run.data.metrics:
            run.describe(member.cfg, member.cost.figures())
            run.use_images(member.cfg, origin[DIGEST])
        yield run
