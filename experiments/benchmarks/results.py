"""The results of a benchmark: a table, a JSON file, a plot, and an MLflow run."""

import json
import re
import time
from pathlib import Path

from matplotlib.figure import Figure
from mlflow.entities import Metric, Param
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from experiments.benchmarks.baselines import device_of
from experiments.benchmarks.rounds import OURS, Figures
from experiments.tracking.identity import name_experiment
from experiments.tracking.provenance import provenance
from experiments.tracking.run import parameters
from experiments.tracking.store import Store

Row = dict[str, str | float]  # see rounds.summary


def show(rows: list[Row]) -> None:
    """Print a table: medians, and ratios with their range over the rounds."""
    keys = dict.fromkeys(key for row in rows for key in row)
    keys = [key for key in keys if key != "name" and not key.startswith("ratio")]
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    for column in (*keys, f"x {OURS}", "by round"):
        table.add_column(column.replace("_", " "), justify="right")
    for row in rows:
        cells = (f"{row[key]:,.4g}" if key in row else "-" for key in keys)
        spread = f"{row['ratio_min']:.2f} to {row['ratio_max']:.2f}"
        table.add_row(row["name"], *cells, f"{row['ratio']:.2f}", spread)
    Console(highlight=False, width=max(Console().width, 120)).print(table)


def keep(cfg: DictConfig, rows: list[Row], turns: dict[str, list[Figures]]) -> None:
    """Write the figures as JSON and as a plot, and log both to MLflow."""
    folder = Path(cfg.bench.folder)
    folder.mkdir(parents=True, exist_ok=True)
    machine = provenance(device_of(cfg))
    result = {"what": cfg.what, "machine": machine, "medians": rows, "turns": turns}
    written, drawn = folder / f"{cfg.what}.json", folder / f"{cfg.what}.png"
    written.write_text(json.dumps(result, indent=1), encoding="utf-8")
    plot(rows, machine["device.name"]).savefig(drawn, dpi=120)

    store, now = Store(cfg.tracking), int(time.time() * 1000)
    name = f"bench {cfg.what}, {name_experiment(cfg.step, cfg.experiment, ())}"
    run = store.client.create_run(store.experiment_id, now, machine, name).info.run_id
    metrics = [
        Metric(f"{re.sub('[^a-zA-Z0-9 -]', '', str(row['name']))}/{key}", value, now, 0)
        for row in rows
        for key, value in row.items()
        if key != "name"
    ]
    params = [Param(key, value) for key, value in parameters(cfg).items()]
    store.client.log_batch(run, metrics, params)
    for path in (written, drawn):
        store.client.log_artifact(run, str(path))
    store.client.set_terminated(run)
    print(f"kept in {written} and {drawn}, and in MLflow: {store.url(run)}")


def plot(rows: list[Row], device: str) -> Figure:
    """A bar for each contender: its time as a multiple of ours, with the range over rounds."""
    figure = Figure(figsize=(8, 0.5 * len(rows) + 1), layout="constrained")
    axes = figure.subplots()
    ratios = [row["ratio"] for row in rows]
    spread = [
        [row["ratio"] - row["ratio_min"] for row in rows],
        [row["ratio_max"] - row["ratio"] for row in rows],
    ]
    names = [str(row["name"]) for row in rows]
    bars = axes.barh(names, ratios, xerr=spread, color=["C1" if n == OURS else "C0" for n in names])
    axes.bar_label(bars, fmt="%.2f", padding=4)
    axes.invert_yaxis()
    axes.set_xlabel(f"time, as a multiple of {OURS}; {device}")
    return figure
