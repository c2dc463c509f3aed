"""Parsimony from Python: read a configuration, count its cost, load runs and compare them.

docs/notebook.ipynb shows all of it.
"""

import io

import pandas as pd
from omegaconf import DictConfig
from PIL import Image

from experiments.budget.cost import cost_of
from experiments.budget.network import build_network
from experiments.cli.checks import configured
from experiments.cli.compose import started
from experiments.cli.errors import UserError
from experiments.cli.tables import restored
from experiments.reports import charts, comparison, table
from experiments.reports.comparison import Row, by_images
from experiments.reports.page import histories, sizes
from experiments.tracking.store import Store

network, cost = build_network, cost_of


def configure(*overrides: str, command: str = "train") -> DictConfig:
    """The configuration that a command has with these overrides, such as "step=s13".
    Raises UserError where a key is unknown, or a value has the wrong type or is out of range."""
    with started():
        return configured(command, overrides)


def compare(*overrides: str) -> list[Row]:
    """What `experiments.compare` shows with these overrides: a row for each arm.
    Raises UserError where the store cannot be read, or there is nothing to compare."""
    cfg = configure(*overrides, command="compare")
    return comparison.of_store(cfg, Store(cfg.tracking, create=False))[0]


def arms(rows: list[Row]) -> pd.DataFrame:
    """A line for each arm, as in the CSV of `experiments.compare`: accuracies from 0 to 1."""
    texts = dict.fromkeys(("name", "seeds", "accuracies"), str)
    options = {"dtype": texts, "keep_default_na": False, "na_values": [""], "index_col": "name"}
    return pd.read_csv(io.StringIO(table.to_csv(rows)), **options).rename(index=restored)


def runs(rows: list[Row]) -> pd.DataFrame:
    """A line for each run: its arm, its seed, its accuracy from 0 to 1, and its id in MLflow."""
    return pd.DataFrame(
        {"arm": row.arm.name, "seed": seed, "accuracy": accuracy, "run": run}
        for row in rows
        for (seed, accuracy), run in zip(row.arm.scores.items(), row.arm.runs, strict=True)
    )


def picture(rows: list[Row], width: int = 800) -> Image.Image:
    """The accuracy of each arm with its interval; `width` in pixels."""
    return _image(charts.ladder(rows, width, str))


def frontier(rows: list[Row], width: int = 800) -> Image.Image:
    """Accuracy against parameters, with the networks that no other beats in both. UserError: they
    were judged by several sets of images."""
    if len(by_images(rows)) > 1:
        raise UserError("frontier: these networks were judged by several sets of images; give one")
    return _image(charts.pareto(sizes(rows, str), width))


def curves(rows: list[Row], *overrides: str, width: int = 800) -> Image.Image:
    """The accuracy of each arm's runs by epoch; `overrides` as they were given to `compare`."""
    cfg = configure(*overrides, command="compare")
    store = Store(cfg.tracking, create=False)
    return _image(charts.curves(histories(rows, cfg.metric or "val/acc", store), width, str))


def _image(chart: charts.Chart) -> Image.Image:
    return Image.open(io.BytesIO(charts.png(chart)))
