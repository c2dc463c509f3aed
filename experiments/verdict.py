"""The one screen at the end of a run: what it cost and reached, against what was asked."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from experiments.statistics import Difference, Interval

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


def against(accuracy: float, target: float | None) -> str:
    """Whether an accuracy reaches its target, and by how many points; both from 0 to 1."""
    if target is None:
        return ""
    margin = abs(accuracy - target) * 100
    return f"{'reaches' if accuracy >= target else 'misses'} {percent(target)} by {margin:.2f}"


def percent(fraction: float | None) -> str:
    return "" if fraction is None else f"{fraction * 100:.2f} %"


def measured(found: Interval) -> str:
    """A mean accuracy with its interval: "99.30 % (99.24 to 99.35)"."""
    if math.isinf(found.low):
        return percent(found.mean)
    return f"{percent(found.mean)} ({100 * found.low:.2f} to {100 * min(found.high, 1):.2f})"


def points(found: Difference) -> str:
    """A difference with its interval, in points: "+0.04 (-0.02 to +0.10)"."""
    mean, low, high = (f"{100 * value:+.2f}".replace("-0.00", "+0.00") for value in found[:3])
    return mean if math.isinf(found.low) else f"{mean} ({low} to {high})"


def held(found: Interval, target: float) -> str:
    """Whether an accuracy is known to reach its target, in words."""
    if found.low >= target:
        return "reaches"
    return "misses" if found.high < target else "cannot tell whether it reaches"


def duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
