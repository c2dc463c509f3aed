"""The best networks below some limits: ten new seeds each, in evidence/frontier.csv.

OMP_NUM_THREADS=1 PYTHONPATH=.:tests python tests/frontier.py        # searches and trains
OMP_NUM_THREADS=1 PYTHONPATH=.:tests python tests/frontier.py show   # prints the table

A search for each limit, which training images decide: a line in evidence/searches.csv, and the
step of the network that it found. Then ten seeds that it did not use, on all training images, with
15 epochs and with 60. What these files have is not done again. Two processes share the work.
"""

import subprocess
import sys

import optuna
import pandas as pd
from conftest import PROJECT
from filelock import FileLock
from ladder import OPTIONS, PLACE, STORE, read, train_missing
from mlflow import MlflowClient

from experiments.cli.text import duration, measured
from experiments.stats.intervals import interval

SEARCHES = PROJECT / "evidence" / "searches.csv"
TABLE = PROJECT / "evidence" / "frontier.csv"
SMALL = ["model.padded=0", "model.head=1", "model.blocks=[plain,plain,plain,plain,plain,plain]"]
STARTS = {  # by limit: the first network of its search, the best that was known below it
    5000: [],  # step 14
    4000: ["model.widths=[7,7,11,11,8,8]"],
    3000: ["model.widths=[6,6,10,10,6,6]"],
    2000: ["model.widths=[5,5,8,8,8,8]", *SMALL],
    1500: ["model.widths=[4,4,5,5,6,6]", *SMALL],
    1000: ["model.widths=[4,4,5,5,6,6]", *SMALL],
}
EPOCHS = 15, 60
SEEDS = range(100, 110)
STORAGE = f"sqlite:///{PLACE}/search.db"
SEARCH = ("trials=24", "full=16", f"storage={STORAGE}")
FINAL = ("final.networks=1", "final.seeds=3")  # they show that it can be trained


def searched() -> pd.DataFrame:
    """The searches that are done, by their limits."""
    columns = ["limit", "step", "parameters", "networks", "epochs", "seconds"]
    table = pd.read_csv(SEARCHES) if SEARCHES.exists() else pd.DataFrame(columns=columns)
    return table.set_index("limit")


def search(limit: int) -> None:
    """Find the best network with fewer parameters than a limit, and add the line of the search."""
    options = [f"study=f{limit}", f"budget.parameters={limit - 1}", *STARTS[limit]]
    options += [*SEARCH, *FINAL, *OPTIONS]
    command = [sys.executable, "-m", "experiments.search", *options]
    subprocess.run(command, cwd=PROJECT, check=True)
    with FileLock(PLACE / "searches.lock"):
        if limit in searched().index:  # another process took part
            return
        study = optuna.load_study(study_name=f"f{limit}", storage=STORAGE)
        client = MlflowClient(STORE)
        results = [value for key, value in study.user_attrs.items() if key.startswith("run ")]
        runs = [client.get_run(result["run"]).data.metrics for result in results]
        [file] = PROJECT.glob(f"conf/step/found/f{limit}-*.yaml")
        winner = study.trials[int(file.stem.rpartition("-")[2])]
        line = {"limit": limit, "step": f"found/{file.stem}"}
        tried = [trial for trial in study.trials if "parameters" in trial.user_attrs]
        line |= {"parameters": winner.user_attrs["parameters"], "networks": len(tried)}
        for key, metric in {"epochs": "epochs", "seconds": "train_seconds"}.items():
            line[key] = round(sum(run.get(metric, 0) for run in runs))
        new = not SEARCHES.exists()
        pd.DataFrame([line]).to_csv(SEARCHES, mode="a", header=new, index=False)


def name(limit: int, epochs: int) -> str:
    return f"fewer than {limit:,}, {epochs} epochs"


def show() -> None:
    """Print a row for each limit and number of epochs: ten seeds, and what the search took."""
    columns = ["fewer than", "step", "parameters", "epochs", "seeds", "last epoch (95 %)"]
    columns += ["time of a run", "networks tried", "epochs of the search", "hours of the search"]
    print(f"| {' | '.join(columns)} |\n|---:|---|{'---:|' * (len(columns) - 2)}")
    runs = read(TABLE)
    for limit, found in searched().sort_index(ascending=False).iterrows():
        for epochs in EPOCHS:
            ended = runs[runs.step == name(limit, epochs)]
            if len(ended):
                mean, seconds = interval(list(ended["val/acc"])), ended.train_seconds.mean()
                cells = [f"{limit:,}", f"`{found.step}`", f"{found.parameters:,}", epochs]
                cells += [len(ended), measured(mean), duration(seconds), found.networks]
                cells += [found.epochs, f"{found.seconds / 3600:.1f}"]
                print(f"| {' | '.join(map(str, cells))} |")


def main() -> None:
    PLACE.mkdir(parents=True, exist_ok=True)
    for limit in STARTS:
        if limit not in searched().index:
            search(limit)
    for epochs in EPOCHS:
        arms = {
            name(limit, epochs): [f"step={found.step}", f"trainer.max_epochs={epochs}"]
            for limit, found in searched().iterrows()
        }
        train_missing(arms, TABLE, SEEDS)


if __name__ == "__main__":
    show() if sys.argv[1:] == ["show"] else main()
