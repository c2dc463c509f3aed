"""The screen after a run: what it cost and reached, beside its budget, target and publication."""

from typing import TYPE_CHECKING

from omegaconf import DictConfig

from experiments.cli import tables
from experiments.cli.text import against, duration, percent, unusual
from experiments.tracking.identity import part_of_data

if TYPE_CHECKING:
    from experiments.tracking.store import Store
    from experiments.training.resume import Training

COUNTS = {"parameters": "parameters", "mult_adds": "multiply-adds", "bytes": "bytes"}


def print_results(cfg: DictConfig, title: str, metrics: dict[str, float], device: str) -> None:
    """Print the results of a run, from its latest metrics in the store; `title` and `device` say
    in words which run it is, what happened to it, and what it was trained on."""
    published, test, part = cfg.published or {}, metrics.get("test/acc"), part_of_data(cfg)
    last, target = metrics["val/acc"], None if part else cfg.target.val_acc
    rows = []
    for key, label in COUNTS.items():
        within = f"within {cfg.budget[key]:,}" if cfg.budget[key] else ""
        count = f"{published[key]:,}" if key in published else ""
        rows.append((label, f"{metrics[key]:,.0f}", within, count))
    rows.append(("receptive field", f"{metrics['receptive_field']:.0f} px", "", ""))
    label, verdict = f"accuracy, epoch {metrics['epochs']:.0f} (last)", against(last, target)
    known = percent(published.get("last_val_acc"))
    rows.append((label, percent(last), verdict if test is None else "", known))
    label = f"accuracy, epoch {metrics['val/best_epoch']:.0f} (best)"
    known = percent(published.get("best_val_acc"))
    rows.append((label, percent(metrics["val/best_acc"]), "", known))
    if test is not None:
        rows.append(("accuracy, test images", percent(test), against(test, target), ""))
    tables.say(f"{title} in {duration(metrics['train_seconds'])} on {device}")
    source = f"published ({published['step']})" if published else ""
    header = ("", "this run", "budget and target", source)
    tables.show(header, rows, right=("this run", source))
    if part:
        tables.say(f"part of the data only ({part}): compare, gate and run=best leave this run out")
    elif test is None:
        chose = "no epoch was chosen by them: the weights are of the last one"
        tables.say(f"validated on the test images; {chose}")


def print_fused_results(trainings: list["Training"], store: "Store") -> None:
    """Print the accuracy of each of several fused runs."""
    rows = []
    for training in trainings:
        run = training.run
        shown = (run.data.metrics.get(key) for key in ("val/acc", "val/best_acc", "test/acc"))
        rows.append((training.name, run.info.status.lower(), *map(percent, shown)))
    tables.show(("run", "", "accuracy, last epoch", "best epoch", "test images"), rows)
    tables.print_report(unusual(run.data.tags))
    tables.say(f"to look at them: {store.how_to_open(run.data.tags['mlflow.parentRunId'])}")
