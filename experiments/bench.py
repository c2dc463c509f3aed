"""Time our epoch against a bare PyTorch loop over the same tensors, in turns.

python -m experiments.bench step=s13 rounds=3
"""

from __future__ import annotations

import copy
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments.program import program, whole


@program("bench")
def main(cfg: DictConfig) -> None:
    for group in ("step", "experiment"):
        cfg[group] = HydraConfig.get().runtime.choices[group]
    rounds = whole(cfg, "rounds", 1)
    cfg.trainer.max_epochs = 1

    from rich.console import Console
    from rich.table import Table

    from experiments.data import load
    from experiments.design import design

    network, _ = design(cfg)
    data, _ = load(cfg)
    contenders: dict[str, Callable[[], float]] = {
        "bare loop": lambda: bare_epoch(cfg, copy.deepcopy(network), data),
        "ours": lambda: our_epoch(cfg, copy.deepcopy(network), data),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, epoch in contenders.items():
            seconds[name].append(epoch())
            print(f"{name}: {seconds[name][-1]:.2f} s", flush=True)

    table = Table(
        "one epoch, with validation", "median s", "ms a batch", "ratio", "ratios by round"
    )
    batches = -(-len(data.train.labels) // cfg.data.batch_size)
    for name, values in seconds.items():
        ratios = [a / b for a, b in zip(values, seconds["bare loop"], strict=True)]
        median = statistics.median(values)
        table.add_row(
            name,
            f"{median:.2f}",
            f"{median / batches * 1000:.2f}",
            f"{statistics.median(ratios):.3f}",
            ", ".join(f"{ratio:.3f}" for ratio in ratios),
        )
    Console().print(table)


def bare_epoch(cfg, network, data) -> float:
    """Seconds of an epoch in plain PyTorch: no Lightning, no metrics, no tracking."""
    import torch
    from torch.nn import functional as F

    from experiments.program import build
    from models.classifier import Normalize

    device = device_of(cfg)
    train, val = data.train.to(device), data.val.to(device)
    network, normalize = network.to(device), Normalize(cfg.data.mean, cfg.data.std)
    augmentation = build(cfg, "augmentation") or torch.nn.Identity()
    optimizer = build(cfg, "optimizer")(network.parameters())
    synchronize(device)
    start = time.perf_counter()
    network.train()
    for batch in torch.randperm(len(train.labels), device=device).split(cfg.data.batch_size):
        images = normalize(augmentation(train.images[batch].float()))
        optimizer.zero_grad()
        F.cross_entropy(network(images), train.labels[batch]).backward()
        optimizer.step()
    network.eval()
    correct = 0
    with torch.inference_mode():
        for images, labels in zip(
            val.images.split(cfg.data.eval_batch_size),
            val.labels.split(cfg.data.eval_batch_size),
            strict=True,
        ):
            correct += (network(normalize(images)).argmax(1) == labels).sum()
    print(f"accuracy {int(correct) / len(val.labels):.4f}")
    synchronize(device)
    return time.perf_counter() - start


def our_epoch(cfg, network, data) -> float:
    """Seconds of an epoch as experiments.train does it, checkpoints and tracking included."""
    import pytorch_lightning as pl

    from experiments.history import History
    from experiments.tracking import Store, TrackedRun
    from experiments.train import make_module, make_trainer

    class Clock(pl.Callback):
        def on_train_start(self, trainer, module):
            synchronize(module.device)
            self.start = time.perf_counter()

        def on_train_end(self, trainer, module):
            synchronize(module.device)
            self.seconds = time.perf_counter() - self.start

    with tempfile.TemporaryDirectory() as temporary:
        cfg = copy.deepcopy(cfg)
        cfg.tracking.uri = f"sqlite:///{temporary}/mlflow.db"
        cfg.tracking.artifacts = temporary
        clock = Clock()
        with TrackedRun(Store(cfg.tracking), "bench", {}, resume=None) as run:
            trainer = make_trainer(cfg, Path(temporary))
            trainer.callbacks[:0] = [History(run)]
            trainer.callbacks.append(clock)
            trainer.fit(make_module(cfg, network), data)
    return clock.seconds


def device_of(cfg):
    from experiments.program import build

    return build(cfg, "trainer", logger=False).strategy.root_device


def synchronize(device) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
