"""The screen after a run: what it cost and reached, beside its budget, target and publication."""

from typing import TYPE_CHECKING

from omegaconf import DictConfig

from experiments.cli import tables
from experiments.cli.text import against, duration, percent
from experiments.tracking.identity import part_of_data

if TYPE_CHECKING:
    from experiments.tracking.store import Store
    from experiments.training.fit import Member

COUNTS = {"parameters": "parameters", "mult_adds": "multiply-adds", "bytes": "bytes"}


def show(cfg: DictConfig, title: str, metrics: dict[str, float], device: str) -> None:
    """Print the results of a run.

    Args:
        cfg: its configuration.
        title: its name, and what happened to it.
        metrics: its latest metrics by name, as they are in the store.
        device: what it was trained on, in words.
    """
    published = cfg.published or {}
    rows = []
    for key, label in COUNTS.items():
        within = f"within {cfg.budget[key]:,}" if cfg.budget[key] else ""
        count = f"{published[key]:,}" if key in published else ""
        rows.append((label, f"{metrics[key]:,.0f}", within, count))
    rows.append(("receptive field", f"{metrics['receptive_field']:.0f} px", "", ""))
    last, best = metrics["val/acc"], metrics["val/best_acc"]
    label = f"accuracy, epoch {metrics['epochs']:.0f} (last)"
    test, part = metrics.get("test/acc"), part_of_data(cfg)
    target = None if part else cfg.target.val_acc
    verdict = against(last, target) if test is None else ""
    rows.append((label, percent(last), verdict, percent(published.get("last_val_acc"))))
    label = f"accuracy, epoch {metrics['val/best_epoch']:.0f} (best)"
    rows.append((label, percent(best), "", percent(published.get("best_val_acc"))))
    if test is not None:
        rows.append(("accuracy, test images", percent(test), against(test, target), ""))
    print(f"{title} in {duration(metrics['train_seconds'])} on {device}")
    source = f"published ({published['step']})" if published else ""
    header = ("", "this run", "budget and target", source)
    tables.show(header, rows, right=("this run", source))
    if part:
        print(f"part of the data only ({part}): compare, gate and predict leave this run out")
    elif test is None:
        tables.say(
            "validated on the test images; they chose nothing: the weights are of the last epoch"
        )


def show_fused(members: list["Member"], store: "Store") -> None:
    """Print the accuracy of each run that was trained in one program."""
    rows = []
    for name, run in ((member.name, member.run) for member in members):
        accuracies = (
            percent(run.data.metrics.get(key)) for key in ("val/acc", "val/best_acc", "test/acc")
        )
        rows.append((name, run.info.status.lower(), *accuracies))
    tables.show(("run", "", "accuracy, last epoch", "best epoch", "test images"), rows)
    show_backend(run.data.tags)
    print(f"to look at them: make ui, then {store.url(run.data.tags['mlflow.parentRunId'])}")


def show_backend(tags: dict[str, str]) -> None:
    """Print what trained a run, where that was not the fastest, or not the same in all epochs."""
    backend = tags.get("backend", "")
    if ", as " in backend:
        print(f"slower than it could be: {backend}")
    if "backend.changes" in tags:
        print(f"not trained in one way: {tags['backend.changes']}")
