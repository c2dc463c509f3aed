"""The ladder's ten seeds: a line for each run in evidence/runs.csv, and evidence/ladder.csv.

OMP_NUM_THREADS=1 PYTHONPATH=.:tests python tests/ladder.py            # trains what runs.csv lacks
OMP_NUM_THREADS=1 PYTHONPATH=.:tests python tests/ladder.py compare    # writes ladder.csv anew

A run takes about two minutes on one quiet core, and two processes may train at once. Step 10 is
not trained: it is the network and the recipe of step 13.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from itertools import product
from pathlib import Path

import pandas as pd
from conftest import PROJECT
from filelock import FileLock, Timeout
from made import make
from mlflow import MlflowClient
from mlflow.entities import Run

from experiments.tracking.artifacts import read_mistakes

TABLE = PROJECT / "evidence" / "runs.csv"
PLACE = PROJECT / "mlruns" / "ladder"
SEEDS = range(10)
STEPS = [f"s{number:02}" for number in range(13, 0, -1) if number != 10]
STORE = f"sqlite:///{PLACE}/mlflow.db"
PLACES = (f"tracking.uri={STORE}", f"tracking.artifacts={PLACE}/artifacts")
OPTIONS = ["tracking.model=false", f"checkpoints.root={PLACE}/checkpoints", *PLACES]
FIGURES = ("val/acc", "val/best_acc", "val/best_epoch", "train/acc", "train_seconds")


def read(table: Path = TABLE) -> pd.DataFrame:
    return pd.read_csv(table, dtype={"seed": str, "wrong": str})


def train_missing(
    arms: dict[str, list[str]], table: Path = TABLE, seeds: Iterable[int] = SEEDS
) -> None:
    """Train the runs that a table lacks: seeds of arms, each with its name and its arguments."""
    PLACE.mkdir(parents=True, exist_ok=True)
    for seed, name in product(seeds, arms):
        lock = FileLock(PLACE / f"{table.stem} {name} {seed}.lock", timeout=0)
        with suppress(Timeout), lock:  # else another process trains it
            runs = read(table) if table.exists() else pd.DataFrame(columns=["step", "seed"])
            if not ((runs.step == name) & (runs.seed == str(seed))).any():
                train(name, arms[name], seed, table)


def finished(arguments: list[str]) -> Run:
    """The run of these arguments, which is trained where the store does not have it."""
    command = [sys.executable, "-m", "experiments.train", *arguments, *OPTIONS]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(result.stderr)
    return MlflowClient(STORE).get_run(re.search(r"/runs/(\w+)", result.stdout)[1])


def train(name: str, arguments: list[str], seed: int, table: Path) -> None:
    """Train a run, and add its line."""
    run = finished([*arguments, f"seed={seed}"])
    figures = {name: run.data.metrics[name] for name in FIGURES}
    judged = run.data.metrics.get("test/images") or run.data.metrics["val/images"]
    mistakes = read_mistakes(MlflowClient(STORE), run.info.run_id, judged)
    wrong = " ".join(map(str, mistakes["image"]))
    device = run.data.tags["device.name"]
    line = pd.DataFrame([{"step": name, "seed": seed, **figures, "device": device, "wrong": wrong}])
    with FileLock(PLACE / "runs.lock"):
        line.to_csv(table, mode="a", header=not table.exists(), index=False, float_format="%.6g")


def compare(folder: Path, output: str) -> None:
    """Put the runs of the table into a store in `folder`, and compare them; `output` says what to
    write, such as csv=FILE."""
    runs = read()
    for step in [f"s{number:02}" for number in range(1, 14)]:
        for run in runs[runs.step == ("s13" if step == "s10" else step)].itertuples():
            wrong = [list(map(int, run.wrong.split()))]
            accuracy, seed = 1 - len(wrong[0]) / 10_000, int(run.seed)
            options = {"first_seed": seed, "keeps": True, "wrong": wrong, "device": run.device}
            make(folder, step, [accuracy], **options)
    places = f"tracking.uri=sqlite:///{folder}/mlflow.db", f"tracking.artifacts={folder}/artifacts"
    command = [sys.executable, "-m", "experiments.compare", *places, output]
    subprocess.run(command, cwd=PROJECT, check=True)


def main() -> None:
    if sys.argv[1:] == ["compare"]:
        with tempfile.TemporaryDirectory() as folder:
            compare(Path(folder), f"csv={PROJECT}/evidence/ladder.csv")
        return
    train_missing({step: [f"step={step}"] for step in STEPS})


if __name__ == "__main__":
    main()
