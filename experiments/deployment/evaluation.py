"""Score a trained network on any images, and keep the scores in MLflow beside its run."""

import time
import warnings
from tempfile import TemporaryDirectory

import pytorch_lightning as pl
import torch
from mlflow.entities import Metric, Run
from omegaconf import DictConfig

from experiments.cli.errors import UserError
from experiments.cli.text import percent
from experiments.data.images import Batches, Images, load
from experiments.deployment.find import chosen_run, credit
from experiments.tracking.identity import DIGEST
from experiments.tracking.run import TrackedRun, dataset
from experiments.tracking.store import EVALUATED, PARENT, Store
from experiments.tracking.trained_network import TrainedNetwork
from models.lightning.classifier import Classifier


def evaluate(cfg: DictConfig) -> tuple[str, str]:
    """Score the network of a run on the images of `data` and `split`; the result, in two lines.
    UserError: there is no such run, or its network does not take such images."""
    store, run, trained = chosen_run(cfg)
    for key in ("image_size", "num_classes"):
        if cfg.data[key] != (takes := trained.data[key]):
            raise UserError(f"data.{key} is {cfg.data[key]}, but the network is for {takes}")
    cfg.data.in_channels = trained.data["in_channels"]  # grey images can be read with any number
    refuse_held_out(cfg, run)
    data, digest = load(cfg)
    images = {"train": data.train, "val": data.val, "test": data.test or data.val}[cfg.split]
    scores = score_images(trained, images, cfg.data.eval_batch_size)
    with store.errors():
        logged = log_evaluation(store, run, cfg, digest, scores)
    right, loss = percent(scores["test/acc"]), scores["test/loss"]
    name = dataset(cfg, cfg.split, digest).name
    result = f"{name}: {right} of {len(images.labels):,} images right, loss {loss:.4f}"
    return f"{result}: {store.url(logged)}", credit(store, run)


def refuse_held_out(cfg: DictConfig, run: Run) -> None:
    """Raise UserError where a split of the run's own images is asked for without its holdout."""
    held_out = run.data.params.get("data.holdout", "None")
    if cfg.split == "test" or cfg.data.holdout is not None or not held_out.isdecimal():
        return
    theirs = cfg.copy()
    theirs.data.holdout = int(held_out)
    try:
        digest = load(theirs)[1]
    except UserError:  # these are other images, and too few
        return
    if digest == run.data.tags.get(DIGEST):
        text = f"give data.holdout={held_out}, as the run had, or split=test"
        raise UserError(f"split={cfg.split}: {text}")


def score_images(trained: TrainedNetwork, images: Images, batch_size: int) -> dict[str, float]:
    """test/loss and test/acc: means over all images."""
    normal = {key: trained.data[key] for key in ("mean", "std")}
    module = Classifier(trained.network, None, loss=trained.loss, **normal)
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary"), False)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    # Lightning warns of PyTorch's changes to itself
    with TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        trainer = pl.Trainer(default_root_dir=folder, devices=1, **quiet)
        [scores] = trainer.test(module, Batches(images, batch_size), verbose=False)
    return scores


def log_evaluation(
    store: Store, run: Run, cfg: DictConfig, digest: str, scores: dict[str, float]
) -> str:
    """Log the scores of a run on the images of `cfg.split`: to its model, and as a run below it,
    whose id this is; it is the same if the same images are scored again."""
    data, when = dataset(cfg, cfg.split, digest), int(time.time() * 1000)
    tags = {EVALUATED: run.info.run_id, DIGEST: digest, "split": cfg.split}
    before = next(iter(store.matching(tags)), None)
    models = [output.model_id for output in run.outputs.model_outputs]
    metrics = [
        Metric(key, value, when, 0, model, data.name, digest)
        for key, value in scores.items()
        for model in models or [None]
    ]
    name, tags[PARENT] = f"{run.info.run_name}, on {data.name}", run.info.run_id
    with TrackedRun(store, name, tags, resume=before) as logged:
        logged.log_inputs({"test": data}, models)
        store.client.log_batch(logged.id, metrics=metrics)
    return logged.id
