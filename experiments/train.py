"""Train one network within its budget, and keep the run in MLflow.

python -m experiments.train step=s13 seed=0
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from experiments.cli.jobs import announce, is_job
from experiments.cli.program import program
from experiments.tracking.identity import identified, run_name
from experiments.training.fit import ensure

if TYPE_CHECKING:  # imported where they are needed, so that a typo or a budget stops a run at once
    from mlflow.entities import Run

    from experiments.tracking.store import Store


@program("train")
def main(cfg: DictConfig) -> str:
    cfg = identified(cfg)
    if any(values is not None for values in cfg.fused.values()):
        from experiments.training.fused import train_together

        return train_together(cfg)
    return train(cfg)


def train(cfg: DictConfig) -> str:
    """Train the run that a configuration describes, and show it.

    Returns, and raises: see `ensure`.
    """
    outcome, store, run, folder = ensure(cfg)
    announce(val_acc=run.data.metrics["val/acc"])
    if not is_job():
        show(cfg, store, run, folder, outcome)
    return outcome


def show(cfg: DictConfig, store: Store, run: Run, folder: Path, outcome: str) -> None:
    """Print the verdict on a finished run, from what the store has of it."""
    from experiments.reports import run as screen

    device = f"{run.data.tags['device']} ({run.data.tags['device.name']})"
    again = " (force=true trains it again)" if outcome == "trained before" else ""
    title = f"{run_name(cfg)}: {outcome}{again}"
    screen.show(cfg, title, run.data.metrics, device)
    if run.data.tags["arithmetic"].startswith("eager, as "):
        print(f"slower than it could be: {run.data.tags['arithmetic']}")
    print(f"to look at it: make ui, then {store.url(run.info.run_id)}")
    print(f"checkpoints and log: {folder}")


if __name__ == "__main__":
    main()
