"""The best networks below some limits: ten new seeds each, in evidence/frontier.csv.

OMP_NUM_THREADS=1 PYTHONPATH=.:tests python tests/frontier.py        # searches and trains
OMP_NUM_THREADS=1 PYTHONPATH=.:tests python tests/frontier.py show   # prints the table

Searches for each limit, for most in two spaces: a line of each in evidence/searches.csv, and the
step of the network that it found. Then ten seeds that they did not use of the one that is better on
images held out, on all training images, with 15 epochs and with 60. What these files have is not
done again. Two processes share the work.
"""

import subprocess
import sys
from typing import Any

import optuna
import pandas as pd
from conftest import PROJECT
from filelock import FileLock
from ladder import OPTIONS, PLACE, STORE, read, train_missing
from mlflow import MlflowClient

from experiments.cli.text import duration, measured
from experiments.stats.intervals import interval
from experiments.study.race import FULL

SEARCHES = PROJECT / "evidence" / "searches.csv"
TABLE = PROJECT / "evidence" / "frontier.csv"
SMALL = ["model.padded=0", "model.head=1", "model.blocks=[plain,plain,plain,plain,plain,plain]"]
STARTS = {  # by search and limit: the first network, the best that was known below it
    "scale": {
        5000: [],  # step 14
        4000: ["model.widths=[7,7,11,11,8,8]"],
        3000: ["model.widths=[6,6,10,10,6,6]"],
        2000: ["model.widths=[5,5,8,8,8,8]", *SMALL],
        1500: ["model.widths=[4,4,5,5,6,6]", *SMALL],
        1000: ["model.widths=[4,4,5,5,6,6]", *SMALL],
    },
    "separable": {
        3000: [],
        2000: ["model.scale=0.77"],
        1500: ["model.scale=0.63"],
        1000: ["model.scale=0.48"],
    },
}
PREFIXES = {"scale": "f", "separable": "g"}  # of the names of studies
EPOCHS = 15, 60
SEEDS = range(100, 110)
STORAGE = f"sqlite:///{PLACE}/search.db"
SEARCH = ("trials=24", "full=16", f"storage={STORAGE}")
FINAL = ("final.networks=1", "final.seeds=3")  # they show that it can be trained


def searched() -> pd.DataFrame:
    """The searches that are done."""
    columns = ["space", "limit", "step", "parameters", "held_out", "networks", "epochs", "seconds"]
    return pd.read_csv(SEARCHES) if SEARCHES.exists() else pd.DataFrame(columns=columns)


def is_done(space: str, limit: int) -> bool:
    table = searched()
    return ((table.space == space) & (table.limit == limit)).any()


def best() -> pd.DataFrame:
    """The search of each limit whose network is the best on images held out, the largest first."""
    ordered = searched().sort_values(["limit", "held_out"], ascending=False)
    return ordered.drop_duplicates("limit")


def search(space: str, limit: int) -> None:
    """Find the best network with fewer parameters than a limit, and add the line of the search."""
    study = f"{PREFIXES[space]}{limit}"
    options = [f"search={space}", f"study={study}", f"budget.parameters={limit - 1}"]
    options += [*STARTS[space][limit], *SEARCH, *FINAL, *OPTIONS]
    command = [sys.executable, "-m", "experiments.search", *options]
    subprocess.run(command, cwd=PROJECT, check=True)
    with FileLock(PLACE / "searches.lock"):
        if is_done(space, limit):  # another process took part
            return
        line = {"space": space, "limit": limit} | facts(study)
        new = not SEARCHES.exists()
        pd.DataFrame([line]).to_csv(SEARCHES, mode="a", header=new, index=False)


def facts(name: str) -> dict[str, Any]:
    """The step that a study found, its accuracy on images held out, and what all runs took."""
    study = optuna.load_study(study_name=name, storage=STORAGE)
    results = {key: run for key, run in study.user_attrs.items() if key.startswith("run ")}
    client = MlflowClient(STORE)
    runs = [client.get_run(result["run"]).data.metrics for result in results.values()]
    [file] = PROJECT.glob(f"conf/step/found/{name}-*.yaml")
    number = int(file.stem.rpartition("-")[2])
    full = [
        run["accuracy"] for key, run in results.items() if key.startswith(f"run {number} {FULL} ")
    ]
    tried = [trial for trial in study.trials if "parameters" in trial.user_attrs]
    found = {"step": f"found/{file.stem}", "held_out": round(sum(full) / len(full), 5)}
    found |= {"parameters": study.trials[number].user_attrs["parameters"], "networks": len(tried)}
    for key, metric in {"epochs": "epochs", "seconds": "train_seconds"}.items():
        found[key] = round(sum(run.get(metric, 0) for run in runs))
    return found


def name(step: str, epochs: int) -> str:
    return f"{step}, {epochs} epochs"


def show() -> None:
    """Print a row for each limit and number of epochs: ten seeds, and what all searches took."""
    columns = ["fewer than", "step", "parameters", "epochs", "seeds", "last epoch (95 %)"]
    columns += ["time of a run", "networks tried", "epochs of the searches", "hours"]
    print(f"| {' | '.join(columns)} |\n|---:|---|{'---:|' * (len(columns) - 2)}")
    runs, took = read(TABLE), searched().groupby("limit")[["networks", "epochs", "seconds"]].sum()
    for found in best().itertuples():
        for epochs in EPOCHS:
            ended = runs[runs.step == name(found.step, epochs)]
            if len(ended):
                mean, seconds = interval(list(ended["val/acc"])), ended.train_seconds.mean()
                cells = [f"{found.limit:,}", f"`{found.step}`", f"{found.parameters:,}", epochs]
                cells += [len(ended), measured(mean), duration(seconds)]
                spent = took.loc[found.limit]
                cells += [*map(round, spent[:2]), f"{spent.seconds / 3600:.1f}"]
                print(f"| {' | '.join(map(str, cells))} |")


def main() -> None:
    PLACE.mkdir(parents=True, exist_ok=True)
    for space, starts in STARTS.items():
        for limit in starts:
            if not is_done(space, limit):
                search(space, limit)
    for epochs in EPOCHS:
        arms = {
            name(step, epochs): [f"step={step}", f"trainer.max_epochs={epochs}"]
            for step in best().step
        }
        train_missing(arms, TABLE, SEEDS)


if __name__ == "__main__":
    show() if sys.argv[1:] == ["show"] else main()
