"""The best networks below some limits: ten new seeds each, in evidence/frontier.csv.

OMP_NUM_THREADS=1 PYTHONPATH=.:tests python tests/frontier.py        # searches and trains
OMP_NUM_THREADS=1 PYTHONPATH=.:tests python tests/frontier.py show   # prints the table

A search for each limit, which training images decide; then ten seeds that it did not use, on all
training images, with 15 epochs and with 60. Two processes share the work.
"""

import subprocess
import sys

import optuna
from conftest import PROJECT
from ladder import OPTIONS, PLACE, read, train_missing

from experiments.cli.text import duration, measured
from experiments.stats.intervals import interval

TABLE = PROJECT / "evidence" / "frontier.csv"
LIMITS = 5000, 4000, 3000, 2000, 1500, 1000
EPOCHS = 15, 60
SEEDS = range(100, 110)
STORAGE = f"sqlite:///{PLACE}/search.db"
SEARCH = ("data.batch_size=32", "optimizer.lr=0.05", "trials=24", "full=16", f"storage={STORAGE}")
FINAL = ("final.networks=1", "final.seeds=3")  # one seed shows that it can be trained


def search(limit: int) -> str:
    """The step of the best network that a search finds with fewer parameters than a limit."""
    options = [f"study=f{limit}", f"budget.parameters={limit - 1}", *SEARCH, *FINAL, *OPTIONS]
    command = [sys.executable, "-m", "experiments.search", *options]
    subprocess.run(command, cwd=PROJECT, check=True)
    return f"step=found/{winner(limit)}"


def winner(limit: int) -> str:
    [file] = PROJECT.glob(f"conf/step/found/f{limit}-*.yaml")
    return file.stem


def name(limit: int, epochs: int) -> str:
    return f"fewer than {limit:,}, {epochs} epochs"


def show() -> None:
    runs, head = (
        read(TABLE),
        "| fewer than | step | parameters | epochs | seeds | last epoch (95 %) |",
    )
    print(f"{head} networks tried | epochs of the search | time of a run |\n|{'---:|' * 9}")
    for limit in LIMITS:
        study = optuna.load_study(study_name=f"f{limit}", storage=STORAGE)
        stages = [key.split()[2] for key in study.user_attrs if key.startswith("run ")]
        step = winner(limit)
        parameters = study.trials[int(step.rpartition("-")[2])].user_attrs["parameters"]
        spent = 2 * stages.count("0") + 15 * (len(stages) - stages.count("0"))
        for epochs in EPOCHS:
            found = runs[runs.step == name(limit, epochs)]
            if len(found):
                mean = measured(interval(list(found["val/acc"])))
                seconds = duration(found.train_seconds.mean())
                print(f"| {limit:,} | `found/{step}` | {parameters:,} | {epochs} |", end="")
                print(f" {len(found)} | {mean} | {len(study.trials)} | {spent} | {seconds} |")


def main() -> None:
    PLACE.mkdir(parents=True, exist_ok=True)
    steps = {limit: search(limit) for limit in LIMITS}
    for epochs in EPOCHS:
        arms = {
            name(limit, epochs): [step, f"trainer.max_epochs={epochs}"]
            for limit, step in steps.items()
        }
        train_missing(arms, TABLE, SEEDS)


if __name__ == "__main__":
    show() if sys.argv[1:] == ["show"] else main()
