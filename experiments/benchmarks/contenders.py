"""What `experiments.bench` times: an epoch of training, or the start of a command."""

import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from experiments.benchmarks import baselines
from experiments.budget.cost import cost_of
from experiments.budget.network import build_network
from experiments.cli import tables
from experiments.cli.errors import UserError
from experiments.data.images import ImageData, Images, load
from experiments.tracking.provenance import provenance
from experiments.tracking.run import TrackedRun
from experiments.tracking.store import Store
from experiments.training.history import History
from experiments.training.module import make_module
from experiments.training.trainer import device_of, make_trainer
from models.lightning.classifier import Classifier

OURS = "ours"  # the contender that the others are compared with
WARM_UP = 5  # batches
OWN = ("what=", "rounds=", "batches=", "step=")  # keys that are not for the command that we time

Contender = Callable[[], dict[str, float]]  # takes a turn; its seconds, and what else it measured


def epoch(cfg: DictConfig) -> dict[str, Contender]:
    """An epoch with validation in this process; each contender has trained a few batches before."""
    if (cfg.loss or {}).get("teacher"):
        raise UserError("bench: loss.teacher is not timed; choose another loss")
    Store(cfg.tracking)  # MLflow prints much when it creates a store; so before the first turn
    data, _ = load(cfg)
    few = first_batches(data, WARM_UP)
    module = make_module(cfg, build_network(cfg), len(data.train.labels))
    if cfg.batches is not None:
        data = first_batches(data, cfg.batches)
    cfg.trainer.max_epochs = 1
    contenders = {
        "notebook, 0 workers": lambda data: next(baselines.notebook(cfg, data))[0],
        "notebook, 2 workers": lambda data: next(baselines.notebook(cfg, data, workers=2))[0],
        "Lightning, 0 workers": partial(baselines.lightning, cfg),
        OURS: partial(ours, cfg, module),
        "bare loop": partial(baselines.bare, cfg, module.learn),
        "floor": partial(baselines.floor, cfg, cost_of(cfg).mult_adds),
    }
    for train in contenders.values():
        train(few)
    return {name: partial(measure, train, data) for name, train in contenders.items()}


def first_batches(data: ImageData, batches: int) -> ImageData:
    """The images of the first batches, and as large a share of the validation images."""
    share = batches * data.batch_size / len(data.train.labels)

    def part(images: Images) -> Images:
        return Images(*(tensor[: round(share * len(tensor))] for tensor in images))

    return ImageData(part(data.train), part(data.val), data.batch_size, data.eval_batch_size)


def measure(train: Callable[[ImageData], baselines.Times], data: ImageData) -> dict[str, float]:
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
        trainer = make_trainer(cfg, History([run], Path(cfg.checkpoints.root)), clock)
        trainer.fit(module, data)
    return clock.times


def start(cfg: DictConfig) -> dict[str, Contender]:
    """From the command to the start of its first epoch, against the imports alone."""
    first_epoch(cfg)  # creates the store, and fills the compiler's cache
    imports = "import torch, pytorch_lightning"
    return {
        OURS: partial(first_epoch, cfg),
        imports: partial(run, "-c", imports),
        "gate stage=budget": partial(run, "-m", "experiments.gate", "stage=budget"),
        "train --help": partial(run, "-m", "experiments.train", "--help"),
    }


def first_epoch(cfg: DictConfig) -> dict[str, float]:
    """A run of one epoch, of which what it does before that epoch is counted."""
    config, started = HydraConfig.get(), time.time()
    given = [item for item in config.overrides.task if not item.startswith(OWN)]
    places = ("tracking.uri", "tracking.artifacts", "checkpoints.root")
    given += [f"{key}={OmegaConf.select(cfg, key)}" for key in places]
    given += [f"step={config.runtime.choices.step}", "force=true", "trainer.max_epochs=1"]
    run("-m", "experiments.train", *given)
    store = Store(cfg.tracking)
    newest = store.search("metrics.epoch_seconds > 0")[-1]
    [first] = store.client.get_metric_history(newest.info.run_id, "epoch_seconds")
    return {"seconds": first.timestamp / 1000 - first.value - started}


def run(*arguments: str) -> dict[str, float]:
    """Run Python as from a new terminal, with threads at their default; the seconds it takes."""
    environment = {key: text for key, text in os.environ.items() if key != "OMP_NUM_THREADS"}
    command, began = [sys.executable, *arguments], time.perf_counter()
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise UserError(f"{' '.join(command)} failed: {result.stderr[-2000:]}")
    return {"seconds": time.perf_counter() - began}


def take_turns(contenders: dict[str, Contender], rounds: int) -> pd.DataFrame:
    """A row for each turn of each contender; `ratio`: of its seconds to ours in the same round."""
    turns = []
    for turn in range(1, rounds + 1):
        for name, take in contenders.items():
            measured = take()
            turns.append({"round": turn, "name": name, **measured})
            print(f"round {turn} of {rounds}, {name}: {measured['seconds']:.2f} s", file=sys.stderr)
    table = pd.DataFrame(turns)
    reference = table[table["name"] == OURS].set_index("round")["seconds"]
    return table.assign(ratio=table["seconds"] / table["round"].map(reference))


def keep(cfg: DictConfig, turns: pd.DataFrame) -> None:
    """Print medians and the range of ratios; log them to MLflow, with each turn as JSON."""
    groups = turns.drop(columns="round").groupby("name", sort=False)
    ratio = groups["ratio"]
    medians = groups.median().assign(ratio_min=ratio.min(), ratio_max=ratio.max())
    header = [f"ratio: to {OURS}", *(key.replace("_", " ") for key in medians)]
    shown = medians.map(lambda value: f"{value:,.0f}" if value > 1000 else f"{value:.4g}")
    rows = [list(row) for row in shown.itertuples()]
    tables.show(header, rows, right=header[1:])
    machine = provenance(device_of(cfg))
    result = {"what": cfg.what, "machine": machine, "turns": turns.to_dict("records")}
    result["medians"] = medians.reset_index().to_dict("records")
    store = Store(cfg.tracking)
    with TrackedRun(store, f"bench {cfg.what}, {cfg.name}", machine, resume=None) as kept:
        metrics = medians.rename(lambda name: re.sub("[^a-zA-Z0-9 -]", "", name)).stack()
        kept.describe(cfg, {"/".join(key): value for key, value in metrics.items()})
        store.client.log_dict(kept.id, result, f"{cfg.what}.json")
    tables.say(f"kept in MLflow: {store.url(kept.id)}")
