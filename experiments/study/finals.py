"""The final runs of a search: the best trials as step files, each trained with several seeds."""

import math
import statistics
from pathlib import Path
from typing import NamedTuple

import yaml
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from experiments.budget.network import prepare
from experiments.cli.compose import search_path
from experiments.cli.files import write
from experiments.cli.jobs import announce
from experiments.cli.keys import key_of, kind, select
from experiments.cli.kinds import JUDGEMENT, PLACE, RESULT
from experiments.stats.intervals import interval
from experiments.stats.target import reaches
from experiments.study.claims import Claims
from experiments.tracking.identity import name_experiment, run_name
from experiments.training.fit import train

NOT_A_STEP = ("step", "experiment", "seed", "launcher")  # groups and keys that it does not hold


class Finalist(NamedTuple):
    """A trial that is trained again: the name of its step, and its accuracies on the test
    images, 0 to 1, of the last epoch; without those of the seeds that diverged."""

    trial: FrozenTrial
    step: str
    accuracies: list[float]
    diverged: int

    @property
    def mean(self) -> float:
        return statistics.mean(self.accuracies) if self.accuracies else 0.0

    def holds(self, target: float) -> bool:
        """Whether no seed diverged, and the interval of the mean lies above the target; of
        one seed, or equal ones, which have no interval, the accuracy."""
        return bool(
            self.accuracies
            and not self.diverged
            and reaches(self.mean, target)
            and (math.isinf(low := interval(self.accuracies).low) or reaches(low, target))
        )


def score(accuracy: float, parameters: int, target: float | None) -> float:
    """What a trial tells its study: its accuracy; if it reaches a target, more than all that
    miss it, and the more the smaller the network is."""
    return 1 + 1 / parameters if target and reaches(accuracy, target) else accuracy


def rank(finalists: list[Finalist], target: float | None) -> list[Finalist]:
    """The finalists, the best first: with a target, the smallest of those that hold it, and
    those that do not after them; else, and among these, the highest mean."""

    def order(one: Finalist) -> tuple[bool, float]:
        holds = target is not None and one.holds(target)
        return not holds, one.trial.user_attrs["parameters"] if holds else -one.mean

    return sorted(finalists, key=order)


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
    usual = compose("train", return_hydra_config=True).hydra.runtime.choices
    groups = {
        group: choice
        for group, choice in HydraConfig.get().runtime.choices.items()
        if choice != usual.get(group, choice) and "/" not in group and group not in NOT_A_STEP
    }
    chosen = [f"{group}={name}" for group, name in groups.items()]
    reference = compose("train", overrides=[*chosen, *search_path()])
    theirs = select(reference, RESULT, JUDGEMENT)
    changes = OmegaConf.create()
    for key, value in select(cfg, RESULT, JUDGEMENT).items():
        if key not in NOT_A_STEP and (key, value) not in theirs.items():
            OmegaConf.update(changes, key, value)
    entries = OmegaConf.to_container(changes)
    lines = (
        "# @package _global_",
        f"# Found by a search: trial {trial.number} of {study}, one of {tried} networks tried;",
        f"# as a trial it reached {trial.user_attrs['val_acc']:.2%} on training images held out.",
        "defaults:",
        *(f"  - override /{group}: {name}" for group, name in groups.items()),
        "  - _self_",
        "",
        f"description: trial {trial.number} of the search {study}",
        yaml.safe_dump(entries, sort_keys=False, default_flow_style=None, width=98),
    )
    path = Path(final.steps, f"{study}-{trial.number}.yaml").absolute()
    write(path, "\n".join(lines))
    return path.with_suffix("").as_posix().rpartition("/step/")[2]  # the value of step=


def train_finalists(
    found: list[tuple[FrozenTrial, str]], seeds: int, claims: Claims, target: float | None
) -> list[Finalist]:
    """Train all seeds of the finalists that no other worker trains, and wait for the others.

    Args:
        found: the trials, each with the name of its step.
        target: the accuracy that the smallest network is wanted for; None: the highest.

    Returns:
        The finalists, the best first.
    """
    runs = [(step, seed) for seed in range(seeds) for _, step in found]
    accuracies: dict[tuple[str, int], float | None] = {}
    for wait in (False, True):  # what is free, and then what others train
        for step, seed in [run for run in runs if run not in accuracies]:
            with claims.take(f"final-{step.replace('/', '-')}-{seed}", wait) as ours:
                if ours:
                    accuracies[step, seed] = final_accuracy(step, seed)
    finalists = []
    for trial, step in found:
        values = [accuracies[step, seed] for seed in range(seeds)]
        finished = [value for value in values if value is not None]
        finalists.append(Finalist(trial, step, finished, diverged=seeds - len(finished)))
    return rank(finalists, target)


def final_accuracy(step: str, seed: int) -> float | None:
    """Train the run of `python -m experiments.train step=... seed=...` in this place, unless it
    was trained before; None where it diverged."""
    overrides, known = HydraConfig.get().overrides, compose("train")
    here = [
        item
        for item in overrides.task
        if kind(key := key_of(item)) == PLACE and key.split(".")[0] in known and key != "force"
    ]
    cfg = compose("train", overrides=[f"step={step}", f"seed={seed}", *here, *search_path()])
    cfg.step = step
    cfg.name = name_experiment(cfg, "train", [f"step={step}"])
    announce(name=run_name(cfg))
    _, _, [member] = train([cfg], *prepare([cfg]))
    return None if member.failure else member.run.data.metrics["val/acc"]
