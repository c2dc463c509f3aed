"""The best trials of a search once more: as step files, and as ordinary runs of several seeds."""

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
from experiments.study.claims import Claims
from experiments.tracking.identity import ELSEWHERE, name_experiment, run_name
from experiments.training.fit import train

SECONDS = 2  # between looks at what others train

# a step file says what is trained, how, and what it is held to; not where, nor how often
NOT_A_STEP = (
    *("hydra", "name", "step", "experiment", "description", "published", "seed", "force"),
    *("compile", "fused", "checkpoints", "tracking"),
)

# what says where a search happens holds for its finalists too
PLACES = tuple(
    key
    for key in ELSEWHERE
    if key not in ("budget.", "target.", "description", "force", "name", "published")
)


class Finalist(NamedTuple):
    """A trial that is trained again: the name of its step, and the accuracies on the test
    images by seed, of the last epoch; None where the training diverged."""

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
    """The trials with the highest scores, the best first, each network and recipe once."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    ranked = sorted(trials, key=lambda trial: (-trial.value, trial.number))
    chosen: list[FrozenTrial] = []
    for trial in ranked:
        if all(trial.params != other.params for other in chosen):
            chosen.append(trial)
    return chosen[:count]


def write_step(
    cfg: DictConfig, final: DictConfig, trial: FrozenTrial, study: str, tried: int
) -> str:
    """Write a step file that trains a trial's network on all training images.

    Args:
        cfg: the configuration of the trial.
        final: where step files go, and the epochs in them.
        tried: how many networks the search has tried.

    Returns:
        The name of the step.
    """
    cfg = cfg.copy()
    cfg.trainer.max_epochs, cfg.data.holdout = final.max_epochs, None
    choices = HydraConfig.get().runtime.choices
    usual = compose("train", return_hydra_config=True)
    groups = {
        group: choice
        for group, choice in choices.items()
        if group in usual.hydra.runtime.choices
        and choice != usual.hydra.runtime.choices[group]
        and "/" not in group
        and group not in ("step", "experiment", "launcher")
    }
    reference = compose("train", overrides=[f"{group}={name}" for group, name in groups.items()])
    ours, theirs = (
        {key: value for key, value in OmegaConf.to_container(one).items() if key not in NOT_A_STEP}
        for one in (cfg, reference)
    )
    changes = difference({key: ours[key] for key in theirs}, theirs)
    changes.get("data", {}).pop("root", None)
    held = f"{trial.user_attrs['val_acc']:.2%} on training images held out"
    text = "\n".join(
        (
            "# @package _global_",
            f"# Found by a search: trial {trial.number} of {study}, one of {tried} networks tried;",
            f"# as a trial it reached {held}.",
            "defaults:",
            *(f"  - override /{group}: {name}" for group, name in groups.items()),
            "  - _self_",
            "",
            f"description: trial {trial.number} of the search {study}",
            yaml.safe_dump(changes, sort_keys=False, default_flow_style=None, width=98),
        )
    )
    path = Path(final.steps, f"{study}-{trial.number}.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    return step_name(path)


def step_name(path: Path) -> str:
    """What to give as step=... for a file in conf/step, or in a step folder elsewhere."""
    parts = path.absolute().with_suffix("").parts
    return "/".join(parts[len(parts) - parts[::-1].index("step") :])


def difference(one: Any, other: Any) -> Any:
    """What is in one tree of dictionaries and not alike in the other."""
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
    """Train all seeds of the finalists, those that no other worker trains; wait for the rest.

    Returns:
        The finalists, the best first.
    """
    accuracies: dict[tuple[str, int], float | None] = {}
    seeds = range(cfg.final.seeds)
    missing = [(step, seed) for seed in seeds for _, step in found]
    while missing:
        taken = []
        for step, seed in missing:
            with claims.take(f"search-{study}/final-{step.replace('/', '-')}-{seed}") as ours:
                if not ours:
                    taken.append((step, seed))
                    continue
                final = final_run(step, seed)
                announce(name=run_name(final))
                _, _, [member] = train([final], *prepare([final]))
                diverged = member.failure is not None
                accuracies[step, seed] = None if diverged else member.run.data.metrics["val/acc"]
        missing = taken
        if missing:
            time.sleep(SECONDS)
    finalists = [Finalist(t, step, [accuracies[step, seed] for seed in seeds]) for t, step in found]
    return sorted(finalists, key=lambda finalist: -finalist.mean)


def final_run(step: str, seed: int) -> DictConfig:
    """The configuration that `python -m experiments.train step=... seed=...` has, in this place."""
    overrides = HydraConfig.get().overrides
    here = [item for item in overrides.task if item.lstrip("+").startswith(PLACES)]
    path = [item for item in overrides.hydra if item.startswith("hydra.searchpath")]
    cfg = compose("train", overrides=[f"step={step}", f"seed={seed}", *here, *path])
    cfg.step, cfg.name = step, name_experiment(step, None, [])
    return cfg
