"""The screen after a run: what it cost and reached, beside its budget, target and publication."""

from typing import TYPE_CHECKING

from omegaconf import DictConfig

from experiments.cli import tables
from experiments.cli.text import against, duration, percent

if TYPE_CHECKING:
    from experiments.tracking.store import Store
    from experiments.training.fit import Member

FIGURES = ("val/acc", "val/best_acc")
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
        limit, count = cfg.budget[key], published.get(key)
        within = "" if limit is None else f"within {limit:,}"
        rows.append((label, f"{metrics[key]:,.0f}", within, "" if count is None else f"{count:,}"))
    rows.append(("receptive field", f"{metrics['receptive_field']:.0f} px", "", ""))
    last, best = metrics["val/acc"], metrics["val/best_acc"]
    label = f"accuracy, epoch {cfg.trainer.max_epochs} (last)"
    verdict = against(last, cfg.target.val_acc)
    rows.append((label, percent(last), verdict, percent(published.get("last_val_acc"))))
    label = f"accuracy, epoch {metrics['val/best_epoch']:.0f} (best)"
    rows.append((label, percent(best), "", percent(published.get("best_val_acc"))))
    print(f"{title} in {duration(metrics['train_seconds'])} on {device}")
    source = f"published ({published['step']})" if published else ""
    header = ("", "this run", "budget and target", source)
    tables.show(header, rows, right=("this run", source), bold=("this run",))


def show_fused(members: list["Member"], store: "Store") -> None:
    """Print the accuracy of each run that was trained in one program."""
    rows = []
    for member in members:
        accuracies = (percent(member.run.data.metrics.get(name)) for name in FIGURES)
        rows.append((member.name, member.run.info.status.lower(), *accuracies))
    tables.show(("run", "", "accuracy, last epoch", "best epoch"), rows)
    parent = members[0].run.data.tags["mlflow.parentRunId"]
    print(f"to look at them: make ui, then {store.url(parent)}")
