"""Runs that were trained, or judged, on part of their data: they are no evidence."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from omegaconf import DictConfig, open_dict

from experiments.cli.errors import UserError

if TYPE_CHECKING:
    from mlflow.entities import Run

PARTIAL = "partial"  # a tag: what limits the run
LIMITS = ("fast_dev_run", "overfit_batches", "limit_train_batches", "limit_val_batches")


def part_of_data(cfg: DictConfig) -> str | None:
    """What limits a run to part of its data, such as "limit_val_batches=1"; None: nothing."""
    given = {key: cfg.trainer.get(key) for key in LIMITS}
    # 1 is one batch, and 1.0 all of them
    limits = (f"{key}={x}" for key, x in given.items() if x and not (x == 1 and type(x) is float))
    return ", ".join(limits) or None


def expand_fast_dev_run(cfg: DictConfig) -> None:
    """Put the limits for which `fast_dev_run` stands in its place.

    Lightning's own would leave no checkpoint and no log; so, everything of a run is tried.
    """
    if batches := int(cfg.trainer.get("fast_dev_run") or 0):
        with open_dict(cfg):
            del cfg.trainer["fast_dev_run"]
            limits = {"limit_train_batches": batches, "limit_val_batches": batches}
            cfg.trainer.update(max_epochs=1, **limits)


def refuse_part(cfg: DictConfig) -> None:
    """Raise a UserError for a configuration of such runs, where evidence is asked for."""
    if part := part_of_data(cfg):
        raise UserError(f"runs on part of their data are no evidence; leave out trainer.{part}")


def whole(runs: Iterable[Run]) -> list[Run]:
    """The runs that used all of their data."""
    return [run for run in runs if PARTIAL not in run.data.tags]
