"""Recipes for tiny networks: ten seeds of each, a line for each run in evidence/recipes.csv.

OMP_NUM_THREADS=1 PYTHONPATH=.:tests python tests/recipes.py        # trains what the table lacks
OMP_NUM_THREADS=1 PYTHONPATH=.:tests python tests/recipes.py show   # prints the differences

Each recipe is one change to the same network of 3,000 parameters, judged by its last epoch on
10,000 training images held out. Seeds are shared, so that runs are compared in pairs; p is after
Holm's correction over all recipes.
"""

import sys

from conftest import PROJECT
from filelock import FileLock
from ladder import PLACE, finished, read, train_missing

from experiments.cli.text import percent
from experiments.stats.verdict import difference, holm

TABLE = PROJECT / "evidence" / "recipes.csv"
NETWORK = ["step=found/hand", "model=blocks", "model.widths=[6,6,8,12,10]"]
NETWORK += ["model.padded=0", "model.head=1", "data.holdout=10000"]
CALLBACK = "{_target_: pytorch_lightning.callbacks.EMAWeightAveraging, decay: %s}"
HEAD = ["model.widths=[6,6,10,10,6]", "model.padded=4", "model.head=3"]
RECIPES = {
    "none": [],
    "batches of 32": ["data.batch_size=32", "optimizer.lr=0.05"],
    "weight averaging": ["+trainer.callbacks=" + CALLBACK % 0.999],
    "label smoothing": ["loss=cross_entropy", "loss.label_smoothing=0.05"],
    "contrast and brightness": ["augmentation.contrast=0.2", "augmentation.brightness=0.2"],
    "augmentation of half the images": ["augmentation.probability=0.5"],
    "Xavier weights": ["initial_weights=xavier"],
    "norm before activation": ["model.norm_first=true"],
    "norm without weights, 2,854 parameters": ["model.norm=batch_without_weights"],
    "layer norm": ["model.norm=layer"],
    "branches that fold": ["branches=true"],
    "3x3 head, 2,974 parameters": HEAD,
    "the same and a shared filter bank, 2,994 parameters": [
        *HEAD,
        "model.blocks=[plain,plain,plain,shared,plain]",
    ],
}
TEACHER = [*NETWORK, "model.scale=3", "budget.parameters=null", "seed=100"]  # 25,014 parameters
DISTILLED = "distillation from 25,014 parameters"


def show() -> None:
    runs = read(TABLE)
    scores = {
        name: dict(zip(found["seed"], found["val/acc"], strict=True))
        for name, found in runs.groupby("step")
    }
    print("| recipe | seeds | mean | against none (95 %) | p |\n|---|---:|---:|---|---:|")
    names, gains = [each for each in (*RECIPES, DISTILLED) if each in scores], {}
    for name in names[1:]:
        shared = scores[name].keys() & scores["none"].keys()
        gains[name] = difference(*({s: scores[n][s] for s in shared} for n in ("none", name)))
    p = dict(zip(gains, holm([found.p for found in gains.values()]), strict=True))
    for name in names:
        mean, row = sum(scores[name].values()) / len(scores[name]), "| |"
        if name in gains:
            low, high = 100 * gains[name].low, 100 * gains[name].high
            row = f"{100 * gains[name].mean:+.3f} ({low:+.3f} to {high:+.3f}) | {p[name]:.3f} |"
        print(f"| {name} | {len(scores[name])} | {percent(mean)} | {row}")


if __name__ == "__main__":
    if sys.argv[1:] == ["show"]:
        show()
    else:
        PLACE.mkdir(parents=True, exist_ok=True)
        with FileLock(PLACE / "teacher.lock"):
            teacher = finished(TEACHER).info.run_id
        taught = {DISTILLED: ["loss=distillation", f"loss.teacher={teacher}"]}
        arms = {name: NETWORK + changes for name, changes in (RECIPES | taught).items()}
        train_missing(arms, TABLE)
