"""A published network with its own recipe and with ours, ten seeds each, in evidence/woolly.csv.

OMP_NUM_THREADS=1 PYTHONPATH=.:tests python tests/woolly.py        # trains what the table lacks
OMP_NUM_THREADS=1 PYTHONPATH=.:tests python tests/woolly.py show   # prints the difference

By adilsammar, github.com/adilsammar/woolly-of-cv: 3,762 parameters, 99.52 % after the last of 15
epochs, one run. Two processes share the work.
"""

import sys

from conftest import PROJECT
from ladder import read, train_missing

from experiments.cli.text import measured
from experiments.stats.intervals import interval
from experiments.stats.verdict import difference

TABLE = PROJECT / "evidence" / "woolly.csv"
THEIRS, OURS = "their recipe", "our recipe"
NETWORK = ["model=blocks", "model.widths=[4,4,4,8,8,8,8,8,8]", "model.padded=9"]
ARMS = {
    THEIRS: ["experiment=woolly"],
    OURS: ["step=found/hand", *NETWORK, "model.pools=[3,6]", "model.head=1"],
}


def show() -> None:
    runs = read(TABLE)
    scores = {name: found.set_index("seed")["val/acc"] for name, found in runs.groupby("step")}
    for name, found in scores.items():
        best = 100 * runs[runs.step == name]["val/best_acc"].max()
        print(f"{name}: {measured(interval(list(found)))}, {len(found)} seeds, last epoch;", end="")
        print(f" highest {100 * found.max():.2f} %, best epoch of all {best:.2f} %")
    # the networks differ, and so do the first weights of a seed: not paired
    theirs = dict(enumerate(scores[THEIRS]))
    found = difference(theirs, dict(scores[OURS]))
    print(f"ours - theirs: {100 * found.mean:+.3f} ({100 * found.low:+.3f} to ", end="")
    print(f"{100 * found.high:+.3f}), p = {found.p:.3f}")


if __name__ == "__main__":
    show() if sys.argv[1:] == ["show"] else train_missing(ARMS, TABLE)
