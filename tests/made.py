"""Runs that were never trained, made by the project's own ways into a store: evidence to judge."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from conftest import PROJECT
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from experiments.budget.network import price
from experiments.tracking.artifacts import MISTAKES
from experiments.tracking.identity import CONFIG_HASH, config_hash, name_experiment, run_name
from experiments.tracking.parent_runs import PARENT, parent_run, sum_up
from experiments.tracking.run import TrackedRun
from experiments.tracking.store import Store

EPOCHS = 3
DIGEST = "1e35582d42a9"  # of MNIST, as a run tags it


@cache
def described(step: str, *overrides: str) -> tuple[DictConfig, dict[str, float]]:
    """The configuration of a step as `train` has it, and what its network costs."""
    with initialize_config_dir(version_base="1.3", config_dir=str(PROJECT / "conf")):
        cfg = compose("train", overrides=[f"step={step}", *overrides])
        cfg.step = step
        cfg.name = name_experiment(cfg, "train", [f"step={step}", *overrides])
    return cfg, price(cfg).figures()


def make(
    place: Path,
    step: str,
    accuracies: list[float],
    *overrides: str,
    first_seed: int = 0,
    failed: bool = False,
    keeps: bool = False,
    wrong: Sequence[list[int]] = (),
    device: str = "some processor",
) -> str:
    """Put runs of a step, one a seed, into `place`/mlflow.db; the id of their parent.

    Args:
        keeps: which images each run got wrong; `wrong`, if it is given, or else made ones. Without
            it, a table of one image, and not of how many.
    """
    cfg, figures = described(step, *overrides)
    cfg = cfg.copy()
    cfg.tracking.uri = f"sqlite:///{place}/mlflow.db"
    cfg.tracking.artifacts, cfg.checkpoints.root = str(place / "artifacts"), str(place / "lock")
    (place / "lock").mkdir(exist_ok=True)
    store = Store(cfg.tracking)
    parent = parent_run(cfg, store, DIGEST, figures)
    for cfg.seed, accuracy in enumerate(accuracies, first_seed):
        tags = {
            CONFIG_HASH: config_hash(cfg),
            PARENT: parent,
            "step": step,
            "mlflow.note.content": cfg.description,
            "device": "cpu",
            "device.name": device,
            "data.digest": DIGEST,
        }
        with TrackedRun(store, run_name(cfg), tags, resume=None) as run:
            run.describe(cfg, figures)
            epochs = min(EPOCHS, cfg.trainer.max_epochs)
            curve = [accuracy - 0.01 * (epochs - epoch) for epoch in range(1, epochs + 1)]
            run.log_history([{"val/acc": value} for value in curve], [run.started] * epochs)
            found = [8]
            if keeps:  # half of them those of every seed
                count = round(10_000 * (1 - accuracy))
                own = range(1000 * (cfg.seed + 1), 1000 * (cfg.seed + 1) + count - count // 2)
                found = wrong[cfg.seed - first_seed] if wrong else [*range(count // 2), *own]
                run.log_figures({"val/images": 10_000}, time=run.started)
            lines = ["image,true,predicted", *(f"{image},5,6" for image in found)]
            store.client.log_text(run.id, "\n".join(lines), MISTAKES)
            if failed:
                run.fail("Diverged: the training loss became no number")
    if not failed:
        sum_up(cfg, store, parent)
    return parent
