"""The best trials of a search again: as step files, and as ordinary runs of several seeds."""

import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from experiments.budget.network import prepare
from experiments.cli.jobs import announce
from experiments.cli.keys import JUDGEMENT, PLACE, RESULT, key_of, kind
from experiments.study.claims import Claims
from experiments.tracking.identity import name_experiment, run_name
from experiments.training.fit import train

SECONDS = 2  # between looks at what others train

# keys of a result that a step file does not hold: they say which run it is of
NOT_A_STEP = ("step", "experiment", "seed")


class Finalist(NamedTuple):
    """A trial that is trained again: the name of its step, and its accuracies on the test
    images by seed, 0 to 1, of the last epoch; None where the training diverged."""

    trial: FrozenTrial
    step: str
    accuracies: list[float | None]

    @property
    def mean(self) -> float:
        return statistics.mean(self.finished) if self.finished else 0.0

    @property
    def finished(self) -> list[float]:
        return [accuracy for accuracy in self.accuracies if accuracy is not None]


def best_trials(study: Study, count: int) -> list[FrozenTrial]:
    """The trials with the highest scores, the best first; equal ones count once."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    chosen: list[FrozenTrial] = []
    for trial in sorted(trials, key=lambda trial: (-trial.value, trial.number)):
        if all(trial.params != other.params for other in chosen):
            chosen.append(trial)
    return chosen[:count]


def write_step(
    cfg: DictConfig, final: DictConfig, trial: FrozenTrial, study: str, tried: int
) -> str:
    """Write a step file that trains a trial's network on all training images.

    Args:
        cfg: the configuration of the trial.
        final: the folder of step files, and the epochs in them.
        tried: number of networks that the search has tried.

    Returns:
        The name of the step.
    """
    cfg = cfg.copy()
    cfg.trainer.max_epochs, cfg.data.holdout = final.max_epochs, None
    groups = chosen_groups()
    reference = compose("train", overrides=[f"{group}={name}" for group, name in groups.items()])
    ours, theirs = (
        {
            key: value
            for key, value in OmegaConf.to_container(one).items()
            if kind(key) in (RESULT, JUDGEMENT) and key not in NOT_A_STEP
        }
        for one in (cfg, reference)
    )
    changes = difference({key: ours[key] for key in theirs}, theirs)
    changes.get("data", {}).pop("root", None)
    lines = (
        "# @package _global_",
        f"# Found by a search: trial {trial.number} of {study}, one of {tried} networks tried;",
        f"# as a trial it reached {trial.user_attrs['val_acc']:.2%} on training images held out.",
        "defaults:",
        *(f"  - override /{group}: {name}" for group, name in groups.items()),
        "  - _self_",
        "",
        f"description: trial {trial.number} of the search {study}",
        yaml.safe_dump(changes, sort_keys=False, default_flow_style=None, width=98),
    )
    path = Path(final.steps, f"{study}-{trial.number}.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(lines)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    return step_name(path)


def chosen_groups() -> dict[str, str]:
    """The configuration groups of a step for which this search chose another file than usual."""
    usual = compose("train", return_hydra_config=True).hydra.runtime.choices
    return {
        group: choice
        for group, choice in HydraConfig.get().runtime.choices.items()
        if choice != usual.get(group, choice)
        and "/" not in group
        and group not in ("step", "experiment", "launcher")
    }


def step_name(path: Path) -> str:
    """The value of step=... for a file in conf/step, or in another folder named step."""
    parts = path.absolute().with_suffix("").parts
    return "/".join(parts[len(parts) - parts[::-1].index("step") :])


def difference(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """The entries of one nested dictionary that the other lacks or has with another value."""
    changed = {}
    for key, value in one.items():
        if isinstance(value, dict) and isinstance(other.get(key), dict):
            if inner := difference(value, other[key]):
                changed[key] = inner
        elif key not in other or value != other[key]:
            changed[key] = value
    return changed


def train_finalists(
    cfg: DictConfig, study: str, found: list[tuple[FrozenTrial, str]], claims: Claims
) -> list[Finalist]:
    """Train all seeds of the finalists that no other worker trains, and wait for the others.

    Args:
        found: the trials, each with the name of its step.

    Returns:
        The finalists, the best first.
    """
    seeds = range(cfg.final.seeds)
    missing = [(step, seed) for seed in seeds for _, step in found]
    accuracies: dict[tuple[str, int], float | None] = {}
    while missing:
        for step, seed in missing:
            with claims.take(f"search-{study}/final-{step.replace('/', '-')}-{seed}") as ours:
                if ours:
                    accuracies[step, seed] = final_accuracy(step, seed)
        missing = [run for run in missing if run not in accuracies]
        if missing:
            time.sleep(SECONDS)
    finalists = [Finalist(t, step, [accuracies[step, seed] for seed in seeds]) for t, step in found]
    return sorted(finalists, key=lambda finalist: -finalist.mean)


def final_accuracy(step: str, seed: int) -> float | None:
    """Train a run of a finalist, unless it was trained before; None where it diverged."""
    cfg = final_run(step, seed)
    announce(name=run_name(cfg))
    _, _, [member] = train([cfg], *prepare([cfg]))
    return None if member.failure else member.run.data.metrics["val/acc"]


def final_run(step: str, seed: int) -> DictConfig:
    """The configuration that `python -m experiments.train step=... seed=...` has, in this place."""
    overrides, known = HydraConfig.get().overrides, compose("train")
    here = [
        item
        for item in overrides.task
        if kind(key := key_of(item)) == PLACE and key.split(".")[0] in known and key != "force"
    ]
    path = [item for item in overrides.hydra if item.startswith("hydra.searchpath")]
    cfg = compose("train", overrides=[f"step={step}", f"seed={seed}", *here, *path])
    cfg.step, cfg.name = step, name_experiment(step, None, [])
    return cfg
