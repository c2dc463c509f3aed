"""Time what we do against what one would do otherwise, in turns, in one run.

python -m experiments.bench what=epoch rounds=3
python -m experiments.bench what=sweep rounds=1
"""

import copy
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments.program import UserError, build, program, whole

if TYPE_CHECKING:
    import torch
    from torch import nn

    from experiments.data import ImageData

RUNS = 4  # of a sweep
Contenders = dict[str, Callable[[], float]]


@program("bench")
def main(cfg: DictConfig) -> None:
    benches = {"epoch": epoch_contenders, "sweep": sweep_contenders}
    if cfg.what not in benches:
        raise UserError(f"what={cfg.what} does not exist; choose one of {', '.join(benches)}")
    rounds = whole(cfg, "rounds", 1)
    cfg.trainer.max_epochs = 1
    compare(benches[cfg.what](cfg), rounds)


def compare(contenders: Contenders, rounds: int) -> None:
    """Let all contenders run in turns; print their seconds, and the ratios to the first."""
    from rich.console import Console
    from rich.table import Table

    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds):
        for name, run in contenders.items():
            seconds[name].append(run())
            print(f"round {turn + 1}, {name}: {seconds[name][-1]:.2f} s", file=sys.stderr)
    table = Table(box=None, padding=(0, 3, 0, 0))
    for column in ("", "seconds, median", "ratio", "ratios by round"):
        table.add_column(column, justify="right" if column else "left")
    first = next(iter(seconds.values()))
    for name, values in seconds.items():
        ratios = [value / base for value, base in zip(values, first, strict=True)]
        median = f"{statistics.median(ratios):.3f}"
        spread = ", ".join(f"{ratio:.3f}" for ratio in ratios)
        table.add_row(name, f"{statistics.median(values):.2f}", median, spread)
    Console(highlight=False).print(table)


def epoch_contenders(cfg: DictConfig) -> Contenders:
    """An epoch with validation: in plain PyTorch, and as experiments.train does it."""
    from experiments.data import load
    from experiments.design import design
    from experiments.train import identified

    network, _ = design(identified(cfg))
    data, _ = load(cfg)
    batches = math.ceil(len(data.train.labels) / cfg.data.batch_size)
    print(f"{batches} batches of {cfg.data.batch_size}", file=sys.stderr)
    return {
        "bare loop": lambda: bare_epoch(cfg, copy.deepcopy(network), data),
        "ours": lambda: our_epoch(cfg, copy.deepcopy(network), data),
    }


def bare_epoch(cfg: DictConfig, network: "nn.Module", data: "ImageData") -> float:
    """Seconds of an epoch over the same tensors without Lightning, metrics or tracking."""
    import torch
    from torch.nn import functional as F

    from experiments.data import Batches
    from models.classifier import Normalize

    device = build(cfg, "trainer", logger=False).strategy.root_device
    train, val = data.train.to(device), data.val.to(device)
    network, normalize = network.to(device), Normalize(cfg.data.mean, cfg.data.std)
    augmentation = build(cfg, "augmentation") or torch.nn.Identity()
    optimizer = build(cfg, "optimizer")(network.parameters())
    start = now(device)
    network.train()
    for images, labels in Batches(train, cfg.data.batch_size, shuffle=True):
        logits = network(normalize(augmentation(images.float())))
        optimizer.zero_grad()
        F.cross_entropy(logits, labels).backward()
        optimizer.step()
    network.eval()
    with torch.inference_mode():
        for images, labels in Batches(val, cfg.data.eval_batch_size):
            (network(normalize(images)).argmax(1) == labels).sum()
    return now(device) - start


def our_epoch(cfg: DictConfig, network: "nn.Module", data: "ImageData") -> float:
    """Seconds of an epoch as it is trained, with metrics, checkpoints and tracking."""
    import pytorch_lightning as pl

    from experiments.history import History
    from experiments.tracking import Store, TrackedRun
    from experiments.train import make_module, make_trainer

    class Clock(pl.Callback):
        def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
            self.start = now(module.device)

        def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
            self.seconds = now(module.device) - self.start

    with tempfile.TemporaryDirectory() as temporary:
        tracking = cfg.tracking.copy()
        tracking.uri, tracking.artifacts = f"sqlite:///{temporary}/mlflow.db", temporary
        clock = Clock()
        with TrackedRun(Store(tracking), "bench", {}, resume=None) as run:
            trainer = make_trainer(cfg, Path(temporary))
            trainer.callbacks.insert(0, History(run))
            trainer.callbacks.append(clock)
            trainer.fit(make_module(cfg, network), data)
    return clock.seconds


def now(device: "torch.device") -> float:
    """Seconds on a clock, once the device has done all that it was given."""
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def sweep_contenders(cfg: DictConfig) -> Contenders:
    """Four runs of one epoch, from the command to the end: at once, and two ways without us."""
    ours = ("what=", "rounds=", "step=")
    given = [o for o in HydraConfig.get().overrides.task if not o.startswith(ours)]
    command = [f"step={HydraConfig.get().runtime.choices.step}", *given, "trainer.max_epochs=1"]
    all_at_once, halves = [range(RUNS)], [range(RUNS // 2), range(RUNS // 2, RUNS)]
    return {
        "launcher=local": partial(sweep_seconds, [*command, "launcher=local"], all_at_once),
        "one by one": partial(sweep_seconds, command, all_at_once),
        "two processes, default threads": partial(sweep_seconds, command, halves),
    }


def sweep_seconds(command: list[str], seeds: list[range]) -> float:
    """Seconds that a sweep takes in as many processes as there are ranges of seeds."""
    with tempfile.TemporaryDirectory() as temporary:
        places = [
            f"tracking.uri=sqlite:///{temporary}/mlflow.db",
            f"tracking.artifacts={temporary}/artifacts",
            f"checkpoints.root={temporary}/checkpoints",
        ]
        start = time.perf_counter()
        sweeps = []
        for number, some in enumerate(seeds):
            own = (f"seed=range({some.start},{some.stop})", f"hydra.sweep.dir={temporary}/{number}")
            program = [sys.executable, "-m", "experiments.train", "-m", *command, *own, *places]
            environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
            sweeps.append(subprocess.Popen(program, env=environment, **quiet))
        for sweep in sweeps:
            _, errors = sweep.communicate()
            if sweep.returncode:
                raise UserError(f"a sweep failed: {errors}")
        return time.perf_counter() - start


if __name__ == "__main__":
    main()
