"""A table of real runs of small networks, on which searches are replayed in seconds.

OMP_NUM_THREADS=1 PYTHONPATH=.:tests python tests/tabular.py    # appends what the table lacks

Each network is a shape at a scale. Each is trained on the same part of MNIST with several seeds:
in short and in full, both with a whole schedule.
"""

import csv
import itertools
import logging
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytorch_lightning as pl
import torch
from conftest import configure
from omegaconf import DictConfig

from experiments.budget.network import build_networks
from experiments.data.images import ImageData, Images, load
from experiments.training.module import make_module

TABLE = Path(__file__).with_name("tabular.csv")
COLUMNS = "shape", "scale", "parameters", "seed", "epochs", "accuracies"  # after each epoch
IMAGES, HELD_OUT = 10_000, 5_000
SHORT, FULL, SEEDS = 1, 5, 4
SCALES = 0.35, 0.42, 0.5, 0.57, 0.65, 0.73, 0.82, 0.9, 1.0, 1.1, 1.2, 1.32
SHAPES = {
    "plain": (),
    "shared": ("model.blocks=[plain,plain,plain,shared,plain]",),
    "twice": ("model.blocks=[plain,shared,plain,shared,plain]",),
    "valid": ("model.padded=0", "model.widths=[6,6,8,12,10]", "model.head=1"),
    "early": ("model.pools=[1,3]", "model.padded=5"),
    "late": ("model.pools=[2,5]",),
    "head": ("model.head=1",),
    "four": ("model.widths=[8,10,12,12]", "model.padded=3"),
    "three": ("model.widths=[8,12,16]", "model.pools=[1,2]", "model.padded=3"),
    "six": ("model.widths=[6,6,8,8,10,10]", "model.pools=[2,4]", "model.padded=5"),
}


class Row(NamedTuple):
    """A run: accuracies on images held out, 0 to 1, after each epoch."""

    shape: str
    scale: float
    parameters: int
    seed: int
    epochs: int
    accuracies: list[float]


def read(path: Path = TABLE) -> list[Row]:
    with path.open(newline="") as file:
        return [
            Row(
                row["shape"],
                float(row["scale"]),
                int(row["parameters"]),
                int(row["seed"]),
                int(row["epochs"]),
                [float(accuracy) for accuracy in row["accuracies"].split()],
            )
            for row in csv.DictReader(file)
        ]


def plan() -> Iterator[tuple[str, float, int, int]]:
    """Shape, scale, seed and epochs of all runs; whatever is made of them, it can be used."""
    for scales in (SCALES[:6:2], SCALES[6::2], SCALES[1::2]):
        for seed, scale, shape in itertools.product(range(SEEDS), scales, SHAPES):
            for epochs in (SHORT, FULL):
                yield shape, scale, seed, epochs


class Accuracies(pl.Callback):
    def __init__(self) -> None:
        self.values: list[float] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.values.append(float(trainer.callback_metrics["val/acc"]))


def configuration(shape: str, scale: float, seed: int, epochs: int) -> DictConfig:
    base = ("step=found/hand", "model=blocks", f"data.holdout={HELD_OUT}", "budget.parameters=null")
    run = (f"model.scale={scale}", f"seed={seed}", f"trainer.max_epochs={epochs}")
    return configure("train", *base, *run, *SHAPES[shape])


def train(cfg: DictConfig, data: ImageData) -> tuple[int, list[float]]:
    """The parameters of a network, and its accuracy after each epoch."""
    [network], cost = build_networks([cfg])
    accuracies = Accuracies()
    trainer = pl.Trainer(
        max_epochs=cfg.trainer.max_epochs,
        accelerator="cpu",
        callbacks=[accuracies],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=tempfile.gettempdir(),
    )
    part = ImageData(
        Images(*(tensor[:IMAGES] for tensor in data.train)),
        data.val,
        cfg.data.batch_size,
        cfg.data.eval_batch_size,
    )
    trainer.fit(make_module(cfg, network, IMAGES), part)
    return cost.parameters, accuracies.values


def main() -> None:
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    known = (
        {(row.shape, row.scale, row.seed, row.epochs) for row in read()}
        if TABLE.exists()
        else set()
    )
    with TABLE.open("a", newline="", buffering=1) as file:
        writer = csv.writer(file, lineterminator="\n")
        if not known:
            writer.writerow(COLUMNS)
        data = None
        for shape, scale, seed, epochs in plan():
            if (shape, scale, seed, epochs) in known:
                continue
            cfg = configuration(shape, scale, seed, epochs)
            data = data or load(cfg)[0]
            parameters, accuracies = train(cfg, data)
            text = " ".join(f"{accuracy:.4f}" for accuracy in accuracies)
            writer.writerow([shape, scale, parameters, seed, epochs, text])
            file.flush()
            print(shape, scale, parameters, seed, epochs, text, file=sys.stderr)


if __name__ == "__main__":
    main()
