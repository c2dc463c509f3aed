"""An epoch of training with validation in this process, by ours and by the baselines."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

from omegaconf import DictConfig

from experiments.benchmarks import baselines
from experiments.benchmarks.results import OURS, Contender
from experiments.budget.network import build_network, price
from experiments.data.images import ImageData, Images, load
from experiments.tracking.run import TrackedRun
from experiments.tracking.store import Store
from experiments.training.history import History
from experiments.training.trainer import make_module, make_trainer
from models.lightning.classifier import Classifier

WARM_UP = 5  # batches


def epoch(cfg: DictConfig) -> dict[str, Contender]:
    """The contenders, each of which has trained a few batches before."""
    data, _ = load(cfg)
    few = first_batches(data, WARM_UP)
    module = make_module(cfg, build_network(cfg), len(data.train.labels))
    if cfg.bench.batches is not None:
        data = first_batches(data, cfg.bench.batches)
    cfg.trainer.max_epochs = 1
    contenders = {
        "notebook, 0 workers": lambda data: next(baselines.notebook(cfg, data))[0],
        "notebook, 2 workers": lambda data: next(baselines.notebook(cfg, data, workers=2))[0],
        "Lightning, 0 workers": partial(baselines.lightning, cfg),
        OURS: partial(ours, cfg, module),
        "bare loop": partial(baselines.bare, cfg, module.learn),
        "floor": partial(baselines.floor, cfg, price(cfg).mult_adds),
    }
    for train in contenders.values():
        train(few)
    return {name: partial(figures, train, data) for name, train in contenders.items()}


def first_batches(data: ImageData, batches: int) -> ImageData:
    """The images of the first batches, and as large a share of the validation images."""
    share = batches * data.batch_size / len(data.train.labels)
    train, val = (
        Images(*(tensor[: round(share * len(tensor))] for tensor in images))
        for images in (data.train, data.val)
    )
    return ImageData(train, val, data.batch_size, data.eval_batch_size)


def figures(train: Callable[[ImageData], baselines.Times], data: ImageData) -> dict[str, float]:
    start, trained, end = train(data)
    images = len(data.train.labels)
    return {
        "seconds": end - start,
        "ms_a_batch": 1000 * (trained - start) / math.ceil(images / data.batch_size),
        "images_a_second": images / (trained - start),
    }


def ours(cfg: DictConfig, module: Classifier, data: ImageData) -> baselines.Times:
    """An epoch of ours; checkpoints and tracking come after the end of training."""
    clock = baselines.Clock()
    with TrackedRun(Store(cfg.tracking), "bench", {}, resume=None) as run:
        trainer = make_trainer(cfg, Path(cfg.checkpoints.root), History([run]), clock)
        trainer.fit(module, data)
    return clock.times
