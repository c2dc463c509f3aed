"""Step 13 by the notebook recipe, ten seeds against ours: a line each in evidence/notebook.csv.

OMP_NUM_THREADS=1 PYTHONPATH=.:tests python tests/notebook_recipe.py        # trains the missing
OMP_NUM_THREADS=1 PYTHONPATH=.:tests python tests/notebook_recipe.py show   # prints the difference

A run takes about ten minutes on one quiet core, and two processes may train at once.
"""

import json
import subprocess
import sys

import pandas as pd
from conftest import PROJECT
from filelock import FileLock, Timeout
from ladder import PLACE, SEEDS, read

from experiments.stats.intervals import interval
from experiments.stats.verdict import difference

TABLE = PROJECT / "evidence" / "notebook.csv"


def main() -> None:
    if sys.argv[1:] == ["show"]:
        show()
        return
    PLACE.mkdir(parents=True, exist_ok=True)
    for seed in SEEDS:
        try:
            with FileLock(PLACE / f"notebook-{seed}.lock", timeout=0):
                if not TABLE.exists() or str(seed) not in set(read(TABLE).seed):
                    train(seed)
        except Timeout:
            print(f"seed {seed} is trained by another process")


def train(seed: int) -> None:
    command = [sys.executable, "-m", "experiments.benchmarks.baselines", "step=s13", f"seed={seed}"]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(result.stderr)
    epochs = pd.DataFrame(json.loads(line) for line in result.stdout.splitlines())
    accuracy = epochs["val/acc"]
    line = {"seed": seed, "val/acc": accuracy.iloc[-1], "val/best_acc": accuracy.max()}
    line |= {"val/best_epoch": accuracy.idxmax(), "seconds": epochs.seconds.sum()}
    with FileLock(PLACE / "notebook.lock"):
        options = {"header": not TABLE.exists(), "index": False, "float_format": "%.6g"}
        pd.DataFrame([line]).to_csv(TABLE, mode="a", **options)


def show() -> None:
    runs = read()
    ours, theirs = runs[runs.step == "s13"], read(TABLE)
    for name in ("val/acc", "val/best_acc"):
        for who, found in (("ours", ours), ("the notebook recipe", theirs)):
            mean, low, high, n = interval(list(found[name]))
            print(f"{name} of {who}: {mean:.3%} ({low:.3%} to {high:.3%}), {n} seeds")
        # a seed gives both the same first weights, but not the same batches: not paired
        found = difference(dict(enumerate(theirs[name])), dict(ours.set_index("seed")[name]))
        ends = f"{found.low:+.3%} to {found.high:+.3%}"
        print(f"  ours - theirs: {found.mean:+.3%} ({ends}), p = {found.p:.3f}")


if __name__ == "__main__":
    main()
