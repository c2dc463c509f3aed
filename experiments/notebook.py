"""Parsimony from Python: read a configuration, count its cost, load runs and compare them.

docs/notebook.ipynb shows all of it.
"""

import io

import hydra
import pandas as pd
from omegaconf import DictConfig
from PIL import Image
from torch import nn

from experiments.budget.cost import Cost
from experiments.budget.network import build_network, price
from experiments.cli.checks import check
from experiments.cli.compose import CONF, compose
from experiments.reports import charts, comparison
from experiments.reports.comparison import Row
from experiments.tracking.store import Store


def configure(*overrides: str, command: str = "train") -> DictConfig:
    """The configuration that a command has with these overrides, such as "step=s13".

    Raises:
        UserError: a key is unknown, or a value has the wrong type or is out of range.
    """
    with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        cfg = compose(command, overrides)
    check(cfg, command)
    return cfg


def network(cfg: DictConfig) -> nn.Module:
    """The network of a configuration, with the initial weights of its seed."""
    return build_network(cfg)


def cost(cfg: DictConfig) -> Cost:
    """Parameters, multiply-adds, bytes and receptive field of a configuration's network."""
    return price(cfg)


def compare(*overrides: str) -> list[Row]:
    """What `experiments.compare` shows with these overrides: an arm a row, with its interval, its
    difference to another arm, and the verdict.

    Raises:
        UserError: the store cannot be read, or there is nothing to compare.
    """
    cfg = configure(*overrides, command="compare")
    return comparison.of_store(cfg, Store(cfg.tracking, create=False))[0]


def arms(rows: list[Row]) -> pd.DataFrame:
    """A line for each arm; accuracies and differences from 0 to 1."""
    lines = []
    for row in rows:
        found = row.difference
        line = {"arm": row.arm.name, "parameters": row.arm.parameters, **row.accuracy._asdict()}
        line |= {"against": row.against, "changed": row.changed, "no_worse": row.no_worse}
        line |= {"difference": found and found.mean, "verdict": found and found.verdict}
        lines.append(line)
    return pd.DataFrame(lines).set_index("arm")


def runs(rows: list[Row]) -> pd.DataFrame:
    """A line for each run: its arm, its seed, its accuracy from 0 to 1, and its id in MLflow."""
    return pd.DataFrame(
        {"arm": row.arm.name, "seed": seed, "accuracy": accuracy, "run": run}
        for row in rows
        for (seed, accuracy), run in zip(row.arm.scores.items(), row.arm.runs, strict=True)
    )


def picture(rows: list[Row], width: int = 800) -> Image.Image:
    """The accuracy of each arm with its interval; `width` in pixels."""
    return Image.open(io.BytesIO(charts.png(charts.ladder(rows, width, str))))
