"""An epoch of training with validation in this process, by ours and by the baselines."""

import copy
import math
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from omegaconf import DictConfig
from torch import nn

from experiments.benchmarks import baselines
from experiments.benchmarks.rounds import OURS, Contender, Figures
from experiments.benchmarks.stores import store_in
from experiments.budget.network import design
from experiments.cli.config import require_int
from experiments.data.images import BatchGroups, ImageData, load
from experiments.tracking.run import TrackedRun
from experiments.training.history import History
from experiments.training.trainer import make_module, make_trainer
from models.lightning.classifier import Classifier

WARM_UP = 5  # batches


def epoch(cfg: DictConfig, folder: Path) -> dict[str, Contender]:
    """The contenders, each of which has trained a few batches before."""
    network, cost = design(cfg)
    data, _ = load(cfg)
    all_batches = math.ceil(len(data.train.labels) / cfg.data.batch_size)
    wanted = require_int(cfg, "bench.batches", 1) if cfg.bench.batches is not None else all_batches
    batches = min(math.ceil(wanted / BatchGroups.SIZE) * BatchGroups.SIZE, all_batches)
    images = min(batches * cfg.data.batch_size, len(data.train.labels))

    def figures(training: float, rest: float = 0) -> Figures:
        return {
            "seconds": training + rest,
            "ms_a_batch": 1000 * training / batches,
            "images_a_second": images / training,
        }

    def timed(train: Callable[..., tuple[float, float]]) -> Contender:
        train(batches=WARM_UP)
        return lambda: figures(*train(batches=batches))

    def own() -> nn.Module:
        return copy.deepcopy(network)

    module, other = (make_module(cfg, own(), len(data.train.labels)) for _ in range(2))
    cfg.trainer.max_epochs = 1
    print(f"{batches} batches of {cfg.data.batch_size}", file=sys.stderr)
    return {
        "notebook, 0 workers": timed(partial(baselines.notebook, cfg, own(), data)),
        "notebook, 2 workers": timed(partial(baselines.notebook, cfg, own(), data, 2)),
        "Lightning, 0 workers": timed(partial(baselines.lightning, cfg, own(), data, folder)),
        OURS: timed(partial(ours, cfg, module, data, folder)),
        "bare loop": timed(partial(baselines.bare, cfg, other.learn, data)),
        "floor": lambda: figures(baselines.floor(cfg, cost.mult_adds, batches)),
    }


def ours(
    cfg: DictConfig, module: Classifier, data: ImageData, folder: Path, batches: int
) -> tuple[float, float]:
    """Seconds of training, and of validation, checkpoint and tracking, in an epoch of ours."""
    clock = baselines.Clock()
    with TrackedRun(store_in(cfg, folder), "bench", {}, resume=None) as run:
        trainer = make_trainer(cfg, folder)
        trainer.limit_train_batches = math.ceil(batches / BatchGroups.SIZE)
        trainer.limit_val_batches = batches
        trainer.callbacks.insert(0, History([run]))
        trainer.callbacks.append(clock)
        trainer.fit(module, data)
    return clock.seconds()
