"""Who runs against whom in a bench, and how each is timed."""

import copy
import itertools
import json
import math
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments.benchmarks.rounds import OURS, Contender, Figures
from experiments.cli.config import require_int
from experiments.cli.errors import UserError
from experiments.tracking.identity import identified
from experiments.training.trainer import make_module, make_trainer

if TYPE_CHECKING:
    from torch import nn

    from experiments.data.images import ImageData
    from models.lightning.classifier import Classifier

RUNS = 4  # of a sweep
WARM_UP = 5  # batches
OWN = ("what=", "rounds=", "bench.", "step=")  # keys that are not for the programs that we time


def epoch(cfg: DictConfig) -> dict[str, Contender]:
    """An epoch of training with validation, in this process, everything warmed up before."""
    from experiments.benchmarks import baselines
    from experiments.budget.network import design
    from experiments.data.images import BatchGroups, load

    network, cost = design(identified(cfg))
    data, _ = load(cfg)
    all_batches = math.ceil(len(data.train.labels) / cfg.data.batch_size)
    wanted = require_int(cfg, "bench.batches", 1) if cfg.bench.batches is not None else all_batches
    batches = min(math.ceil(wanted / BatchGroups.SIZE) * BatchGroups.SIZE, all_batches)
    images = min(batches * cfg.data.batch_size, len(data.train.labels))
    folder = tempfile.TemporaryDirectory()

    def timed(run: Callable[..., tuple[float, float]]) -> Contender:
        run(batches=WARM_UP)

        def turn() -> Figures:
            training, rest = run(batches=batches)
            return figures(training, training + rest)

        return turn

    def figures(training: float, seconds: float) -> Figures:
        return {
            "seconds": seconds,
            "ms_a_batch": 1000 * training / batches,
            "images_a_second": images / training,
        }

    def own() -> "nn.Module":
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
        "floor": lambda: figures(*[baselines.floor(cfg, cost.mult_adds, batches)] * 2),
    }


def ours(
    cfg: DictConfig,
    module: "Classifier",
    data: "ImageData",
    folder: tempfile.TemporaryDirectory,
    batches: int,
) -> tuple[float, float]:
    """Seconds of training, and of validation, checkpoint and tracking, in an epoch as we do it."""
    from experiments.benchmarks.baselines import clocked
    from experiments.data.images import BatchGroups
    from experiments.tracking.run import TrackedRun
    from experiments.tracking.store import Store
    from experiments.training.history import History

    place, tracking = Path(folder.name), cfg.tracking.copy()
    tracking.uri, tracking.artifacts = f"sqlite:///{place}/ours.db", str(place)
    clock = clocked()
    with TrackedRun(Store(tracking), "bench", {}, resume=None) as run:
        trainer = make_trainer(cfg, place)
        trainer.limit_train_batches = math.ceil(batches / BatchGroups.SIZE)  # which it calls one
        trainer.limit_val_batches = batches
        trainer.callbacks.insert(0, History(run))
        trainer.callbacks.append(clock)
        trainer.fit(module, data)
    return clock.seconds()


def sweep(cfg: DictConfig) -> dict[str, Contender]:
    """Runs from the command to the end: at once, one by one, and side by side without care."""
    cores, seeds = os.cpu_count() or 1, range(RUNS)
    shares = [seeds[number::cores] for number in range(cores)]
    each = [[seed] for seed in seeds]
    return {
        OURS: partial(our_sweep, cfg, [seeds], "launcher=local", at_once=cores),
        "ours, one by one": partial(our_sweep, cfg, [seeds]),
        f"ours, {cores} processes, default threads": partial(our_sweep, cfg, shares, at_once=cores),
        "notebook, one by one": partial(notebook_sweep, cfg, each),
        f"notebook, {cores} processes, default threads": partial(
            notebook_sweep, cfg, each, at_once=cores
        ),
    }


def our_sweep(
    cfg: DictConfig, shares: list[Sequence[int]], *more: str, at_once: int = 1
) -> Figures:
    """A sweep in as many processes as there are shares of its seeds."""
    with tempfile.TemporaryDirectory() as place:
        epochs = f"trainer.max_epochs={cfg.bench.epochs}"
        commands = [
            program(
                "train",
                "-m",
                *given(),
                *more,
                epochs,
                *places(place),
                f"seed={','.join(map(str, share))}",
                f"hydra.sweep.dir={place}/{number}",
            )
            for number, share in enumerate(shares)
        ]
        started = time.perf_counter()
        memory = max(finish(process) for process in [start_process(c) for c in commands])
        wall = time.perf_counter() - started
        with sqlite3.connect(f"{place}/mlflow.db") as database:
            query = "select value from metrics where key = 'epoch_seconds' and step = ?"
            rows = database.execute(query, (cfg.bench.epochs,)).fetchall()
        seconds = statistics.mean(value for (value,) in rows)
    return full_length(cfg, wall, cfg.bench.epochs, seconds, at_once, memory)


def notebook_sweep(cfg: DictConfig, runs: list[Sequence[int]], at_once: int = 1) -> Figures:
    """The notebook recipe as a program, `at_once` of them at a time."""
    waiting = [
        program("benchmarks.baselines", *given(), f"seed={seed}", "trainer.max_epochs=1")
        for [seed] in runs
    ]
    started, memory, seconds = time.perf_counter(), 0.0, []
    while waiting:
        some, waiting = waiting[:at_once], waiting[at_once:]
        processes = [start_process(command, stdout=subprocess.PIPE) for command in some]
        for process in processes:
            seconds += json.loads(process.stdout.read())
            memory = max(memory, finish(process))
    wall = time.perf_counter() - started
    return full_length(cfg, wall, 1, statistics.mean(seconds), at_once, memory)


def full_length(
    cfg: DictConfig, wall: float, epochs: int, epoch: float, at_once: int, memory: float
) -> Figures:
    """What a sweep of fewer epochs says of one with all of them: the others take as long each."""
    seconds = wall + (cfg.trainer.max_epochs - epochs) * epoch * RUNS / at_once
    return {
        "seconds": seconds,
        "runs_an_hour": RUNS * 3600 / seconds,
        "epoch_seconds": epoch,
        "measured_seconds": wall,
        "measured_epochs": epochs,
        "MiB_a_process": memory,
    }


def start(_: DictConfig) -> dict[str, Contender]:
    """From the command to the first training step, against nothing but the imports."""
    folder = tempfile.TemporaryDirectory()
    bare = [sys.executable, "-c", "import torch, pytorch_lightning"]
    seeds = itertools.count()
    first_step(folder, next(seeds))  # makes the store, and fills the compiler's cache
    return {
        OURS: lambda: first_step(folder, next(seeds)),
        "import torch, pytorch_lightning": partial(whole_command, bare),
        "gate stage=budget": partial(whole_command, program("gate", "stage=budget")),
        "train --help": partial(whole_command, program("train", "--help")),
    }


def compare(cfg: DictConfig) -> dict[str, Contender]:
    """Verdicts from a store with 2,000 runs, and with hardly any."""
    from experiments.benchmarks.crowded_store import crowded

    contenders = {}
    for name, arms, seeds in ((OURS, 100, 20), ("of 40 runs", 2, 20)):
        folder = tempfile.TemporaryDirectory()
        uri = crowded(identified(cfg), Path(folder.name), arms, seeds)
        command = program("compare", f"tracking.uri={uri}")
        contenders[name] = partial(whole_command, command, folder)
    return contenders


def first_step(folder: tempfile.TemporaryDirectory, seed: int) -> Figures:
    """A run of 32 batches; what it does after its only epoch is not counted."""
    short = (
        "trainer.max_epochs=1",
        "+trainer.limit_train_batches=1",
        "+trainer.limit_val_batches=1",
    )
    command = program("train", *given(), *short, *places(folder.name), f"seed={seed}")
    started = time.time()
    memory = finish(start_process(command))
    newest = max(Path(folder.name).glob("checkpoints/*/train.log"), key=os.path.getmtime)
    [line] = [line for line in newest.read_text().splitlines() if "epoch 1 of 1" in line]
    stamp = datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f").timestamp()
    return {"seconds": stamp - started, "MiB": memory}


def whole_command(
    command: list[str], _folder: tempfile.TemporaryDirectory | None = None
) -> Figures:
    """Run a command from its start to its end, in which time its folder stays."""
    started = time.perf_counter()
    memory = finish(start_process(command))
    return {"seconds": time.perf_counter() - started, "MiB": memory}


def program(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"experiments.{name}", *arguments]


def given() -> list[str]:
    """What was asked of the bench that is for the programs that it times."""
    config = HydraConfig.get()
    rest = [item for item in config.overrides.task if not item.startswith(OWN)]
    return [f"step={config.runtime.choices.step}", *rest]


def places(folder: str) -> list[str]:
    return [
        f"tracking.uri=sqlite:///{folder}/mlflow.db",
        f"tracking.artifacts={folder}/artifacts",
        f"checkpoints.root={folder}/checkpoints",
    ]


def start_process(command: list[str], stdout: int = subprocess.DEVNULL) -> subprocess.Popen:
    """A program as from a new terminal, with its threads at their default."""
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    return subprocess.Popen(command, env=environment, stdout=stdout, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen) -> float:
    """Wait for a process; its highest resident memory, in MiB. Raises UserError if it failed."""
    errors = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise UserError(f"{' '.join(process.args)} failed: {errors[-2000:]}")
    return usage.ru_maxrss / 1024
