"""What a benchmark leaves behind: a table, a file, a plot, an MLflow run."""

import json
import re
import time
from pathlib import Path

from omegaconf import DictConfig

from experiments.benchmarks.rounds import OURS, Figures


def show(rows: list[dict[str, str | float]]) -> None:
    """Print a table: medians, and ratios with their spread over the rounds."""
    from rich.console import Console
    from rich.table import Table

    figures = list(dict.fromkeys(key for row in rows for key in row))
    figures = [key for key in figures if key not in ("name", "ratio", "ratio_min", "ratio_max")]
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    for column in (*figures, f"x {OURS}", "by round"):
        table.add_column(column.replace("_", " "), justify="right")
    for row in rows:
        cells = (f"{row[key]:,.4g}" if key in row else "-" for key in figures)
        spread = f"{row['ratio_min']:.2f} to {row['ratio_max']:.2f}"
        table.add_row(row["name"], *cells, f"{row['ratio']:.2f}", spread)
    Console(highlight=False, width=max(Console().width, 120)).print(table)


def keep(cfg: DictConfig, rows: list[dict], turns: dict[str, list[Figures]]) -> None:
    """Write the figures as JSON and as a plot, and log both to MLflow."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt
    from mlflow.entities import Metric, Param

    from experiments.benchmarks.baselines import device_of
    from experiments.tracking.identity import name_experiment
    from experiments.tracking.provenance import provenance
    from experiments.tracking.run import parameters
    from experiments.tracking.store import Store

    folder = Path(cfg.bench.folder)
    folder.mkdir(parents=True, exist_ok=True)
    machine = provenance(device_of(cfg))
    result = {"what": cfg.what, "machine": machine, "medians": rows, "turns": turns}
    written = folder / f"{cfg.what}.json"
    written.write_text(json.dumps(result, indent=1), encoding="utf-8")

    figure, axes = plt.subplots(figsize=(8, 0.5 * len(rows) + 1), layout="constrained")
    ratios = [row["ratio"] for row in rows]
    spread = [
        [row["ratio"] - row["ratio_min"] for row in rows],
        [row["ratio_max"] - row["ratio"] for row in rows],
    ]
    names = [str(row["name"]) for row in rows]
    bars = axes.barh(names, ratios, xerr=spread, color=["C1" if n == OURS else "C0" for n in names])
    axes.bar_label(bars, fmt="%.2f", padding=4)
    axes.invert_yaxis()
    axes.set_xlabel(f"time, as a multiple of {OURS}; {machine['device.name']}")
    plot = written.with_suffix(".png")
    figure.savefig(plot, dpi=120)

    store = Store(cfg.tracking)
    name = f"bench {cfg.what}, {name_experiment(cfg.step, cfg.experiment, ())}"
    run = store.client.create_run(store.experiment_id, tags=machine, run_name=name)
    now = int(time.time() * 1000)
    figures = {
        re.sub("[^a-zA-Z0-9 -]", "", str(row["name"])) + f"/{key}": value
        for row in rows
        for key, value in row.items()
        if key != "name"
    }
    store.client.log_batch(
        run.info.run_id,
        metrics=[Metric(key, value, now, 0) for key, value in figures.items()],
        params=[Param(key, value) for key, value in parameters(cfg).items()],
    )
    for path in (written, plot):
        store.client.log_artifact(run.info.run_id, str(path))
    store.client.set_terminated(run.info.run_id)
    print(f"kept in {written} and {plot}, and in MLflow: {store.url(run.info.run_id)}")
