"""Commands as a user types them, timed from their start to their end: sweep, start, compare."""

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments.benchmarks.rounds import OURS, Contender, Figures
from experiments.benchmarks.stores import crowded_store, store_in
from experiments.cli.errors import UserError

RUNS = 4  # of a sweep
OWN = ("what=", "rounds=", "bench.", "step=")  # keys that are not for the commands that we time


def sweep(cfg: DictConfig, _: Path) -> dict[str, Contender]:
    """Several runs: at the same time, one by one, and at the same time with all threads."""
    cores, seeds = os.cpu_count() or 1, range(RUNS)
    shares = [seeds[number::cores] for number in range(cores)]
    careless = f"{cores} processes, default threads"
    return {
        OURS: partial(our_sweep, cfg, [seeds], "launcher=local", at_once=cores),
        "ours, one by one": partial(our_sweep, cfg, [seeds]),
        f"ours, {careless}": partial(our_sweep, cfg, shares, at_once=cores),
        "notebook, one by one": partial(notebook_sweep, cfg),
        f"notebook, {careless}": partial(notebook_sweep, cfg, at_once=cores),
    }


def our_sweep(
    cfg: DictConfig, shares: list[Sequence[int]], *more: str, at_once: int = 1
) -> Figures:
    """A sweep in as many processes as there are shares of its seeds."""
    with tempfile.TemporaryDirectory() as folder:
        settings = [*given(), *more, f"trainer.max_epochs={cfg.bench.epochs}", *places(folder)]
        started = time.perf_counter()
        processes = [
            start_process(
                command(
                    "train",
                    "-m",
                    *settings,
                    f"seed={','.join(map(str, share))}",
                    f"hydra.sweep.dir={folder}/{number}",
                )
            )
            for number, share in enumerate(shares)
        ]
        memory = max(finish(process) for process in processes)
        wall = time.perf_counter() - started
        runs = store_in(cfg, Path(folder)).search("metrics.epoch_seconds > 0")
        last_epochs = [run.data.metrics["epoch_seconds"] for run in runs]
    return full_length(cfg, wall, cfg.bench.epochs, last_epochs, at_once, memory)


def notebook_sweep(cfg: DictConfig, at_once: int = 1) -> Figures:
    """The notebook recipe as a program, `at_once` of them at a time."""
    waiting = [
        command("benchmarks.baselines", *given(), f"seed={seed}", "trainer.max_epochs=1")
        for seed in range(RUNS)
    ]
    started, memory, epochs = time.perf_counter(), 0.0, []
    while waiting:
        some, waiting = waiting[:at_once], waiting[at_once:]
        processes = [start_process(each, stdout=subprocess.PIPE) for each in some]
        for process in processes:
            epochs += json.loads(process.stdout.read())
            memory = max(memory, finish(process))
    wall = time.perf_counter() - started
    return full_length(cfg, wall, 1, epochs, at_once, memory)


def full_length(
    cfg: DictConfig,
    wall: float,
    epochs: int,
    epoch_seconds: list[float],
    at_once: int,
    memory: float,
) -> Figures:
    """The figures of a sweep with all its epochs, from one that was stopped after `epochs`."""
    epoch = statistics.mean(epoch_seconds)
    seconds = wall + (cfg.trainer.max_epochs - epochs) * epoch * RUNS / at_once
    return {
        "seconds": seconds,
        "runs_an_hour": RUNS * 3600 / seconds,
        "epoch_seconds": epoch,
        "measured_seconds": wall,
        "measured_epochs": epochs,
        "MiB_a_process": memory,
    }


def start(_: DictConfig, folder: Path) -> dict[str, Contender]:
    """From the command to the end of the first training step, against the imports alone."""
    seeds = itertools.count()
    first_step(folder, next(seeds))  # creates the store, and fills the compiler's cache
    imports = [sys.executable, "-c", "import torch, pytorch_lightning"]
    return {
        OURS: lambda: first_step(folder, next(seeds)),
        "import torch, pytorch_lightning": partial(whole_command, imports),
        "gate stage=budget": partial(whole_command, command("gate", "stage=budget")),
        "train --help": partial(whole_command, command("train", "--help")),
    }


def first_step(folder: Path, seed: int) -> Figures:
    """A run of one group of batches; what it does after its only epoch is not counted."""
    short = (
        "trainer.max_epochs=1",
        "+trainer.limit_train_batches=1",
        "+trainer.limit_val_batches=1",
    )
    started = time.time()
    memory = finish(
        start_process(command("train", *given(), *short, *places(folder), f"seed={seed}"))
    )
    newest = max(folder.glob("checkpoints/*/train.log"), key=os.path.getmtime)
    [line] = [line for line in newest.read_text().splitlines() if "epoch 1 of 1" in line]
    stamp = datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f").timestamp()
    return {"seconds": stamp - started, "MiB": memory}


def compare(cfg: DictConfig, folder: Path) -> dict[str, Contender]:
    """Verdicts from a store with many runs, and with few."""
    contenders = {}
    for name, arms in ((OURS, 100), ("of 40 runs", 2)):
        store = crowded_store(cfg, folder / str(arms), arms, seeds=20)
        contenders[name] = partial(whole_command, command("compare", f"tracking.uri={store.uri}"))
    return contenders


def whole_command(arguments: list[str]) -> Figures:
    """Run a command from its start to its end."""
    started = time.perf_counter()
    memory = finish(start_process(arguments))
    return {"seconds": time.perf_counter() - started, "MiB": memory}


def command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"experiments.{name}", *arguments]


def given() -> list[str]:
    """The arguments of the bench that are for the commands that it times."""
    config = HydraConfig.get()
    rest = [item for item in config.overrides.task if not item.startswith(OWN)]
    return [f"step={config.runtime.choices.step}", *rest]


def places(folder: str | Path) -> list[str]:
    return [
        f"tracking.uri=sqlite:///{folder}/mlflow.db",
        f"tracking.artifacts={folder}/artifacts",
        f"checkpoints.root={folder}/checkpoints",
    ]


def start_process(arguments: list[str], stdout: int = subprocess.DEVNULL) -> subprocess.Popen:
    """A program as from a new terminal, with its threads at their default."""
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    return subprocess.Popen(arguments, env=environment, stdout=stdout, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen) -> float:
    """Wait for a process; its highest resident memory, in MiB. Raises UserError if it failed."""
    errors = process.stderr.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise UserError(f"{' '.join(process.args)} failed: {errors[-2000:]}")
    return usage.ru_maxrss / 1024
