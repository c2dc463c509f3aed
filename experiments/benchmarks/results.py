"""The turns of contenders, and their medians as a table, a JSON file and an MLflow run."""

import json
import re
import sys
from pathlib import Path

import pandas as pd
from omegaconf import DictConfig

from experiments.benchmarks.contenders import OURS, Contender
from experiments.cli import files, tables
from experiments.tracking.provenance import provenance
from experiments.tracking.run import TrackedRun
from experiments.tracking.store import Store
from experiments.training.trainer import device_of


def take_turns(contenders: dict[str, Contender], rounds: int) -> pd.DataFrame:
    """Run all contenders one after the other, `rounds` times; a row a turn.

    Its `ratio` is of its seconds to ours in the same round.
    """
    turns = []
    for turn in range(1, rounds + 1):
        for name, run in contenders.items():
            turns.append({"round": turn, "name": name, **run()})
            seconds = f"{turns[-1]['seconds']:.2f} s"
            print(f"round {turn} of {rounds}, {name}: {seconds}", file=sys.stderr)
    table = pd.DataFrame(turns)
    ours = table[table["name"] == OURS].set_index("round")["seconds"]
    return table.assign(ratio=table["seconds"] / table["round"].map(ours))


def keep(cfg: DictConfig, turns: pd.DataFrame) -> None:
    """Print medians and the range of ratios; write JSON, and log all to MLflow."""
    contenders = turns.drop(columns="round").groupby("name", sort=False)
    ratio = contenders["ratio"]
    medians = contenders.median().assign(ratio_min=ratio.min(), ratio_max=ratio.max())
    header = [f"ratio: to {OURS}", *(key.replace("_", " ") for key in medians)]
    rows = [[name, *(f"{value:,.4g}" for value in row)] for name, *row in medians.itertuples()]
    tables.show(header, rows, right=header[1:])

    machine = provenance(device_of(cfg))
    result = {
        "what": cfg.what,
        "machine": machine,
        "medians": medians.reset_index().to_dict("records"),
        "turns": turns.to_dict("records"),
    }
    written = Path(cfg.bench.folder, f"{cfg.what}.json")
    files.write(written, json.dumps(result, indent=1))

    store = Store(cfg.tracking)
    title = f"bench {cfg.what}, {cfg.name}"
    with TrackedRun(store, title, machine, resume=None) as run:
        metrics = medians.rename(lambda name: re.sub("[^a-zA-Z0-9 -]", "", name)).stack()
        run.describe(cfg, {"/".join(key): value for key, value in metrics.items()})
        store.client.log_artifact(run.id, str(written))
    print(f"kept in {written} and in MLflow: {store.url(run.id)}")
