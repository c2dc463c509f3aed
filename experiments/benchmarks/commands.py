"""Commands as a user types them, timed from their start to their end: sweep, start."""

import json
import os
import statistics
import subprocess
import sys
import time
from functools import partial

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from experiments.benchmarks.results import OURS, Contender
from experiments.cli.errors import UserError
from experiments.tracking.store import Store

RUNS = 4  # of a sweep
OWN = ("what=", "rounds=", "bench.", "step=")  # keys that are not for the commands that we time
PLACES = ("tracking.uri", "tracking.artifacts", "checkpoints.root")


def sweep(cfg: DictConfig) -> dict[str, Contender]:
    """Several runs: at the same time, one by one, and at the same time with all threads."""
    at_once, seeds = min(os.cpu_count() or 1, RUNS), [str(seed) for seed in range(RUNS)]
    jobs = cfg.checkpoints.root + "/sweeps/${now:%H%M%S%f}"  # a folder for each process
    options = [f"trainer.max_epochs={cfg.bench.epochs}", f"hydra.sweep.dir={jobs}"]
    ours = train(cfg, "hydra.mode=MULTIRUN", *options)
    all_seeds = [*ours, f"seed={','.join(seeds)}"]
    shares = [[*ours, f"seed={','.join(seeds[first::at_once])}"] for first in range(at_once)]
    recipe = [*command("benchmarks.baselines"), *given(), "trainer.max_epochs=1"]
    notebooks = [[*recipe, f"seed={seed}"] for seed in seeds]
    careless = f"{at_once} processes, default threads"
    return {
        OURS: partial(whole_sweep, cfg, at_once, [*all_seeds, "launcher=local"]),
        "ours, one by one": partial(whole_sweep, cfg, 1, all_seeds),
        f"ours, {careless}": partial(whole_sweep, cfg, at_once, *shares),
        "notebook, one by one": partial(whole_sweep, cfg, 1, *notebooks),
        f"notebook, {careless}": partial(whole_sweep, cfg, at_once, *notebooks),
    }


def whole_sweep(cfg: DictConfig, at_once: int, *programs: list[str]) -> dict[str, float]:
    """Run programs `at_once` at a time; the figures of a sweep with all its epochs."""
    started, printed = time.perf_counter(), []
    for first in range(0, len(programs), at_once):
        printed += run(*programs[first : first + at_once])
    measured = time.perf_counter() - started
    epochs, seconds_of_epochs = (
        1,
        [json.loads(line)["seconds"] for line in printed if line[0] == "{"],
    )
    if "experiments.train" in programs[0]:
        runs = Store(cfg.tracking).search("metrics.epoch_seconds > 0")[-RUNS:]
        epochs = cfg.bench.epochs
        seconds_of_epochs = [run.data.metrics["epoch_seconds"] for run in runs]
    epoch = statistics.mean(seconds_of_epochs)
    seconds = measured + (cfg.trainer.max_epochs - epochs) * epoch * RUNS / at_once
    return {
        "seconds": seconds,
        "runs_an_hour": RUNS * 3600 / seconds,
        "epoch_seconds": epoch,
        "measured_seconds": measured,
        "measured_epochs": epochs,
    }


def start(cfg: DictConfig) -> dict[str, Contender]:
    """From the command to the start of its first epoch, against the imports alone."""
    first_epoch(cfg)  # creates the store, and fills the compiler's cache
    imports = "import torch, pytorch_lightning"
    return {
        OURS: partial(first_epoch, cfg),
        imports: partial(timed, [sys.executable, "-c", imports]),
        "gate stage=budget": partial(timed, command("gate", "stage=budget")),
        "train --help": partial(timed, command("train", "--help")),
    }


def first_epoch(cfg: DictConfig) -> dict[str, float]:
    """A run of one epoch, of which what it does before that epoch is counted."""
    started = time.time()
    run(train(cfg, "trainer.max_epochs=1"))
    store = Store(cfg.tracking)
    newest = store.search("metrics.epoch_seconds > 0")[-1]
    [epoch] = store.client.get_metric_history(newest.info.run_id, "epoch_seconds")
    return {"seconds": epoch.timestamp / 1000 - epoch.value - started}


def command(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"experiments.{name}", *arguments]


def train(cfg: DictConfig, *arguments: str) -> list[str]:
    """Training into the store of the benchmark, whatever is there."""
    places = [f"{key}={OmegaConf.select(cfg, key)}" for key in PLACES]
    return command("train", *given(), *places, "force=true", *arguments)


def given() -> list[str]:
    """The arguments of the bench that are for the commands that it times."""
    config = HydraConfig.get()
    rest = [item for item in config.overrides.task if not item.startswith(OWN)]
    return [f"step={config.runtime.choices.step}", *rest]


def timed(program: list[str]) -> dict[str, float]:
    started = time.perf_counter()
    run(program)
    return {"seconds": time.perf_counter() - started}


def run(*programs: list[str]) -> list[str]:
    """Run programs side by side, as from new terminals with threads at their default; what each
    wrote to standard output. Raises UserError where one of them failed."""
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(each, env=environment, **pipes) for each in programs]
    outputs = [process.communicate() for process in processes]
    for process, (_, errors) in zip(processes, outputs, strict=True):
        if process.returncode:
            raise UserError(f"{' '.join(process.args)} failed: {errors[-2000:]}")
    return [output for output, _ in outputs]
