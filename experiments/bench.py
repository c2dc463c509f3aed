"""Time what we do against what one would do otherwise, in turns, in one run.

python -m experiments.bench what=epoch rounds=3
python -m experiments.bench what=sweep rounds=1
python -m experiments.bench what=start rounds=3
python -m experiments.bench what=compare rounds=3
"""

import json
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from experiments.program import UserError, program, whole

OURS = "ours"  # the contender that the others are held against
Figures = dict[str, float]  # of one turn: seconds, and what else was seen
Contender = Callable[[], Figures]


@program("bench")
def main(cfg: DictConfig) -> None:
    from experiments import contenders

    OmegaConf.resolve(cfg)  # now: a contender's MLflow changes the environment
    benches = {
        "epoch": contenders.epoch,
        "sweep": contenders.sweep,
        "start": contenders.start,
        "compare": contenders.compare,
    }
    if cfg.what not in benches:
        raise UserError(f"what={cfg.what} does not exist; choose one of {', '.join(benches)}")
    turns = take_turns(benches[cfg.what](cfg), whole(cfg, "rounds", 1))
    rows = [summary(name, turns) for name in turns]
    show(rows)
    keep(cfg, rows, turns)


def take_turns(contenders: dict[str, Contender], rounds: int) -> dict[str, list[Figures]]:
    """Let all contenders run one after the other, `rounds` times."""
    turns: dict[str, list[Figures]] = {name: [] for name in contenders}
    for turn in range(1, rounds + 1):
        for name, run in contenders.items():
            turns[name].append(run())
            told = f"round {turn} of {rounds}, {name}: {turns[name][-1]['seconds']:.2f} s"
            print(told, file=sys.stderr)
    return turns


def summary(name: str, turns: dict[str, list[Figures]]) -> dict[str, str | float]:
    """Medians of a contender's figures, and of the ratios of its seconds to ours, turn by turn."""
    mine, ours = turns[name], turns[OURS]
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(mine, ours, strict=True)]
    return {
        "name": name,
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        **{key: statistics.median(figures[key] for figures in mine) for key in mine[0]},
    }


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

    from experiments.identity import name_experiment
    from experiments.provenance import provenance
    from experiments.rivals import device_of
    from experiments.tracking import Store, parameters

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


if __name__ == "__main__":
    main()
