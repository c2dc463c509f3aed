"""The one sequence of a run, from its network to its finished MLflow run.

It serves a single run, several fused runs, and the trials of a search.
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
from experiments.data.images import ImageData, Images, load
from experiments.tracking.artifacts import MISTAKES, mistakes
from experiments.tracking.identity import DIGEST, PARTIAL, identity, part_of_data, run_name
from experiments.tracking.parent_runs import parent_run, sum_up
from experiments.tracking.provenance import provenance
from experiments.tracking.run import TrackedRun, logged_to
from experiments.tracking.store import FUSED, PARENT, Store
from experiments.training.history import History
from experiments.training.module import exported, fuse, load_teacher, make_module, predict
from experiments.training.resume import LAST, LOG, Training, locked, start_anew, training_errors
from experiments.training.trainer import check_limits, device_of, fit_from, make_trainer
from models.lightning.classifier import Classifier, Diverged
from models.losses import Distillation

log = logging.getLogger(__name__)


def train(
    cfgs: Sequence[DictConfig], networks: Sequence[nn.Module], cost: Cost, fused: bool = False
) -> tuple[str, Store, list[Training]]:
    """Train runs, but for those that the store has already: one, or several `fused` ones.

    Returns:
        "trained" or "trained before", the store, and the runs: FINISHED, or FAILED where the
        training diverged.

    Raises:
        UserError: data, device or store cannot be used, or another process trains one of the runs.
    """
    device_of(cfgs[0])  # refuses one that is not here
    digest, loaded = known_digest(cfgs[0]), None
    if digest is None:  # damaged images are found before the store is asked
        loaded = load(cfgs[0])
        digest = loaded[1]
    store, force = Store(cfgs[0].tracking), cfgs[0].force
    trainings = []
    for cfg, network in zip(cfgs, networks, strict=True):
        own = identity(cfg, digest)
        tags = {"step": cfg.step, "experiment": cfg.experiment, PARTIAL: part_of_data(cfg)}
        tags |= own | {"mlflow.source.name": "experiments.train"}
        folder = Path(cfg.checkpoints.root, "-".join(own.values()))
        trainings.append(Training(run_name(cfg), cfg, network, cost, folder, tags))
    folders = [training.folder for training in trainings]
    with training_errors(folders[0]), locked(folders):
        if not force:
            for training in trainings:
                training.find(store, training.folder)
        missing = [training for training in trainings if not training.finished]
        if missing:
            folder = fused_folder(missing) if fused else missing[0].folder
            if force:
                start_anew(folder)
            elif fused:  # what was begun alone or fused with others starts again
                for training in missing:
                    training.find(store, folder)
            fit(missing, store, folder, loaded)
            if fused:
                start_anew(folder)  # the weights of each run are in the store now
        for parent, cfg in {one.run.data.tags[PARENT]: one.cfg for one in trainings}.items():
            sum_up(cfg, store, parent)
    return "trained" if missing else "trained before", store, trainings


def fused_folder(trainings: list[Training]) -> Path:
    """Mark runs as fused with each other; the folder for their checkpoint."""
    folders = "".join(training.folder.name for training in trainings)
    name = f"fused-{hashlib.sha256(folders.encode()).hexdigest()[:12]}"
    for training in trainings:
        training.tags[FUSED] = name
    return trainings[0].folder.with_name(name)


def fit(
    trainings: list[Training],
    store: Store,
    folder: Path,
    loaded: tuple[ImageData, str] | None = None,
    callbacks: Sequence[pl.Callback] = (),
) -> None:
    """Train one run, or fused ones, from the checkpoint in `folder` if there is one.

    The store has each run as FINISHED afterwards, or FAILED if its training diverged.
    `loaded`: the images and their digest, if they have been read already.
    """
    cfg, device = trainings[0].cfg, device_of(trainings[0].cfg)
    data, digest = loaded or load(cfg)
    check_limits(cfg, data)
    count, held_out = len(data.train.labels), cfg.data.holdout
    if cfg.trainer.get("overfit_batches"):
        data.shuffle = False  # the same batches in each epoch
    if FUSED in trainings[0].tags:
        cfgs, networks = [each.cfg for each in trainings], [each.network for each in trainings]
        data.fused_seeds = [each.seed for each in cfgs]  # batches in the order of each seed
        module = fuse(cfgs, networks, count, device)
    else:
        module = make_module(cfg, trainings[0].network, count)
    if isinstance(module.learn.loss, Distillation):
        module.learn.loss.network = load_teacher(cfg, store, device)
    validated_on = "test images" if held_out is None else f"{held_out} of the training images"
    validated_on = f"part of the {validated_on}" if part_of_data(cfg) else validated_on
    origin = {DIGEST: digest, "validated_on": validated_on, "mlflow.note.content": cfg.description}
    origin |= provenance(device)
    with ExitStack() as stack:
        runs = []
        for training in trainings:
            training.tags |= origin
            if PARENT not in training.tags:
                metrics = training.cost.metrics()
                training.tags[PARENT] = parent_run(training.cfg, store, digest, metrics)
            runs.append(stack.enter_context(tracked(training, store, folder)))
        announce(runs=[run.id for run in runs], checkpoints=str(trainings[0].folder))
        exports_best = data.test is not None and not trainings[0].is_trial
        history, reason = History(runs, folder, exports_best), None
        try:
            fitting = make_trainer(cfg, history, *callbacks)
            fit_from(folder / LAST, fitting, module, data)
        except Diverged as error:
            reason = f"Diverged: {error}"
        store.patiently(history.send)
        if part_of_data(cfg):  # what validation saw
            limit, batches = fitting.limit_val_batches, len(data.val_dataloader())
            seen = min(limit, batches) if isinstance(limit, int) else int(limit * batches)
            seen *= data.eval_batch_size
            data.val = Images(*(each[:seen] for each in data.val))
        for index, training in enumerate(trainings):
            if failure := reason or history.divergence(index):
                log.error("%s: %s", training.name, failure)
                runs[index].fail(failure)
            else:
                finish(training, index, module, data, history)
    for training, run in zip(trainings, runs, strict=True):
        training.run = store.client.get_run(run.id)


@contextmanager
def tracked(training: Training, store: Store, folder: Path) -> Iterator[TrackedRun]:
    """The MLflow run of a training, with its description and its log: `training.run`, or a new
    one; `folder` is that of its checkpoint."""
    run = TrackedRun(store, training.name, training.tags, resume=training.run)
    with run, logged_to(training.folder / LOG, run):
        if training.run is None or "parameters" not in training.run.data.metrics:
            run.describe(training.cfg, training.cost.metrics())
            run.use_images(training.cfg, training.tags[DIGEST])
        write(training.run_id_file(folder), run.id)
        yield run


def finish(
    training: Training, index: int, trained: Classifier, data: ImageData, history: History
) -> None:
    """Score the weights that a run exports, once: on the test images, if others chose the epoch.

    A trial of a search is judged by its last epoch on the validation images, and leaves neither
    pictures nor a model.
    """
    cfg, run, ended = training.cfg, history.runs[index], history.ended[-1]
    run.log_metrics(history.summary(index), time=ended)
    run.tag("backend", history.trained_by[-1][1])
    if changes := history.changes(data.val.images.device.type):
        run.tag("backend.changes", changes)
    module = exported(trained, training, index, history)
    judged = data.test if history.exports_best else data.val
    predicted = predict(module, judged.images, data.eval_batch_size, data.val.images.device)
    truth = judged.labels.cpu()
    run.store.patiently(run.client.log_text, run.id, mistakes(truth, predicted), MISTAKES)
    accuracy, metrics = history.epochs[index][-1]["val/acc"], {"val/images": len(truth)}
    if history.exports_best:
        accuracy = (truth == predicted).double().mean().item()
        metrics = {"test/acc": accuracy, "test/images": len(truth)}
    run.log_metrics(metrics, time=ended)
    verdict = against(accuracy, cfg.target.val_acc)
    if verdict and part_of_data(cfg) is None:
        run.tag("verdict", verdict)
    if not training.is_trial:
        # not before: scikit-learn takes a while
        from experiments.training.outputs import log_artifacts

        log_artifacts(training, index, module, judged, predicted, history)
