"""The screen at the end of a run: what it cost and reached, against what was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from experiments.cli.text import against, duration, percent

if TYPE_CHECKING:
    from experiments.tracking.store import Store
    from experiments.training.fit import Member

COUNTS = {"parameters": "parameters", "mult_adds": "multiply-adds", "bytes": "bytes"}


def show(cfg: DictConfig, title: str, metrics: dict[str, float], device: str) -> None:
    """Print the verdict on a run.

    Args:
        cfg: its configuration.
        title: its name, and what happened to it.
        metrics: its latest metrics by name, as they are in the store.
        device: what it was trained on, in words.
    """
    published = cfg.published or {}
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column("this run", justify="right", style="bold")
    table.add_column("budget and target")
    table.add_column(f"published ({published['step']})" if published else "", justify="right")
    for key, label in COUNTS.items():
        limit, figure = cfg.budget[key], published.get(key)
        table.add_row(
            label,
            f"{metrics[key]:,.0f}",
            f"within {limit:,}" if limit is not None else "",
            f"{figure:,}" if figure is not None else "",
        )
    table.add_row("receptive field", f"{metrics['receptive_field']:.0f} px")
    table.add_row(
        f"accuracy, epoch {cfg.trainer.max_epochs} (last)",
        percent(metrics["val/acc"]),
        against(metrics["val/acc"], cfg.target.val_acc),
        percent(published.get("last_val_acc")),
    )
    table.add_row(
        f"accuracy, epoch {metrics['val/best_epoch']:.0f} (best)",
        percent(metrics["val/best_acc"]),
        "",
        percent(published.get("best_val_acc")),
    )
    console = Console(highlight=False)
    console.print(f"{title} in {duration(metrics['train_seconds'])} on {device}", style="bold")
    console.print(table)


def show_fused(members: list[Member], store: Store) -> None:
    """Print the accuracy of each run of a program."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("run", "", "accuracy, last epoch", "best epoch"):
        table.add_column(column)
    for member in members:
        metrics = member.run.data.metrics
        figures = (percent(metrics.get(name)) for name in ("val/acc", "val/best_acc"))
        table.add_row(member.name, member.run.info.status.lower(), *figures)
    Console(highlight=False).print(table)
    parent = members[0].run.data.tags["mlflow.parentRunId"]
    print(f"to look at them: make ui, then {store.url(parent)}")
