"""The one sequence of a run, from its network to its finished MLflow run.

It serves a single run, several runs as one program, and the trials of a search.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytorch_lightning as pl
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
from experiments.training.history import History
from experiments.training.resume import BEST, LAST, LOG, Member, explained, locked, start_anew
from experiments.training.trainer import (
    device_of,
    exported,
    fit_from,
    fuse,
    make_module,
    make_trainer,
    predict,
)
from models.lightning.classifier import Classifier, Diverged

log = logging.getLogger(__name__)


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
        tags = {"step": cfg.step, "experiment": cfg.experiment, PARTIAL: part_of_data(cfg)}
        tags |= own | {"mlflow.source.name": "experiments.train"}
        folder = Path(cfg.checkpoints.root, "-".join(own.values()))
        members.append(Member(run_name(cfg), cfg, network, cost, folder, tags))
    folders, force = [member.folder for member in members], cfgs[0].force
    with explained(folders[0]), locked(folders):
        if not force:
            for member in members:
                member.find(store, member.folder)
        missing = [member for member in members if not member.finished]
        if missing:
            folder = program_of(missing) if fused else missing[0].folder
            if force:
                start_anew(folder)
            elif fused:  # what was begun alone or in another program starts again
                for member in missing:
                    member.find(store, folder)
            fit(missing, store, folder, images)
            if fused:
                start_anew(folder)  # the weights of each run are in the store now
        for parent, cfg in {one.run.data.tags[PARENT]: one.cfg for one in members}.items():
            sum_up(cfg, store, parent)
    return "trained" if missing else "trained before", store, members


def program_of(members: list[Member]) -> Path:
    """Make runs members of one program; the folder for its checkpoint."""
    folders = "".join(member.folder.name for member in members)
    name = f"fused-{hashlib.sha256(folders.encode()).hexdigest()[:12]}"
    for member in members:
        member.tags[FUSED] = name
    return members[0].folder.with_name(name)


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
    cfg, device = members[0].cfg, device_of(members[0].cfg)
    data, digest = images or load(cfg)
    count, held_out = len(data.train.labels), cfg.data.holdout
    if cfg.trainer.get("overfit_batches"):
        data.shuffle = False  # the same batches in each epoch
    if FUSED in members[0].tags:
        cfgs, networks = zip(*((member.cfg, member.network) for member in members), strict=True)
        data.fused_seeds = [each.seed for each in cfgs]  # batches in the order of each seed
        module = fuse(cfgs, networks, count, device)
    else:
        module = make_module(cfg, members[0].network, count)
    origin = {
        DIGEST: digest,
        "validated_on": "test images" if held_out is None else f"{held_out} of the training images",
        "mlflow.note.content": cfg.description,
        **provenance(device),
    }
    with ExitStack() as stack:
        runs = []
        for member in members:
            member.tags |= origin
            runs.append(stack.enter_context(tracked(member, store, folder)))
        announce(runs=[run.id for run in runs], checkpoints=str(members[0].folder))
        history = History(runs, folder)
        trainer = make_trainer(cfg, history, *callbacks)
        reason = None
        try:
            fit_from(folder / LAST, trainer, module, data)
        except Diverged as error:
            reason = f"Diverged: {error}"
        store.patiently(history.send)
        best = folder / BEST if artifacts and held_out is not None else None
        for index, (member, run) in enumerate(zip(members, runs, strict=True)):
            if failure := reason or history.divergence(index):
                log.error("%s: %s", member.name, failure)
                run.fail(failure)
            else:
                one = exported(module, member, index, best)
                conclude(member, run, one, data, history, index, artifacts)
    for member, run in zip(members, runs, strict=True):
        member.run = store.client.get_run(run.id)


@contextmanager
def tracked(member: Member, store: Store, program: Path) -> Iterator[TrackedRun]:
    """The MLflow run of a member, with its description and its log; a new one, or `member.run`."""
    figures = member.cost.figures()
    if PARENT not in member.tags:
        member.tags[PARENT] = parent_run(member.cfg, store, member.tags[DIGEST], figures)
    run = TrackedRun(store, member.name, member.tags, resume=member.run)
    with run, logged_to(member.folder / LOG, run):
        if member.run is None or "parameters" not in member.run.data.metrics:
            run.describe(member.cfg, figures)
            run.use_images(member.cfg, member.tags[DIGEST])
        write(member.begun(program), run.id)
        yield run


def conclude(
    member: Member,
    run: TrackedRun,
    module: Classifier,
    data: ImageData,
    history: History,
    index: int,
    artifacts: bool,
) -> None:
    """Score the weights that a run exports, once: on the test images, if others chose the epoch.

    Args:
        module: with these weights.
        index: of the run in `history`.
        artifacts: see `fit`.
    """
    cfg, ended = member.cfg, history.ended[-1]
    run.log_figures(history.summary(index), time=ended)
    run.tag("backend", history.trained_by[-1][1])
    if changes := history.changes():
        run.tag("backend.changes", changes)
    tested = artifacts and data.test is not None
    split, judged = ("test", data.test) if tested else ("val", data.val)
    predicted = predict(module, judged.images, data.eval_batch_size, data.val.images.device)
    wrong = (predicted != judged.labels.cpu()).nonzero().flatten().tolist()
    accuracy = history.epochs[index][-1]["val/acc"]
    if tested:
        accuracy = 1 - len(wrong) / len(predicted)
        run.log_figures({"test/acc": accuracy}, time=ended)
    if part_of_data(cfg) is None:  # else it is no evidence
        digest, images = member.tags[DIGEST], len(predicted)
        log_wrong(run, Wrong(split=split, digest=digest, images=images, wrong=wrong))
        if verdict := against(accuracy, cfg.target.val_acc):
            run.tag("verdict", verdict)
    if artifacts:
        # not before: scikit-learn takes a while
        from experiments.training.artifacts import log_artifacts

        log_artifacts(member, run, module, judged, predicted, history, index)
