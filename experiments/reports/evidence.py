"""Checks of the gate on the tracked runs of a step: seeds, accuracy, and a baseline."""

import math
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from hydra import compose
from omegaconf import DictConfig, OmegaConf

from experiments.cli.errors import UserError, one_line
from experiments.cli.tables import restored
from experiments.cli.text import measured, percent, points
from experiments.data.digest import known_digest
from experiments.reports.targets import UNKNOWN, Check
from experiments.stats.intervals import interval
from experiments.stats.target import reaches
from experiments.stats.verdict import CANNOT_TELL, HOLDS, LEAST, difference, seeds_needed
from experiments.tracking import arms
from experiments.tracking.arms import Arm, fraction
from experiments.tracking.store import Store, answered

ONE_SIDED = 0.1  # alpha of both sides, for 5 % on one


def evidence(cfg: DictConfig, steps: dict[str, DictConfig]) -> Iterator[Check]:
    """What the runs of steps reached, compared with their targets and the baseline.

    Args:
        cfg: of the gate: the store and the baseline.
        steps: configuration of each step by its name.

    Raises:
        UserError: the store or the baseline cannot be read.
    """
    baseline = read_scores(Path(cfg.baseline)) if cfg.baseline else None
    store = Store(cfg.tracking, create=False)
    trained = list(compose("train"))  # the other keys are the gate's own
    with answered(store):
        for name, step in steps.items():
            arm = arms.of(store, OmegaConf.masked_copy(step, trained), known_digest(step))
            yield seeds(name, step, arm)
            if arm and arm.scores and step.min_accuracy is not None:
                yield accuracy(name, step, arm.values)
            if arm and arm.scores and baseline is not None:
                yield regression(name, arm, baseline.get(arm.name), cfg.margin)


def seeds(step: str, cfg: DictConfig, arm: Arm | None) -> Check:
    """Whether enough seeds have finished, and none has failed."""
    n = len(arm.scores) if arm else 0
    reason = ""
    if arm and arm.failed:
        reason = f"{'; '.join(arm.failed)} failed: train again, or see why in the run's log"
    elif n < cfg.min_seeds:
        overrides = f"-m step={step} 'seed=range({cfg.min_seeds})'"
        reason = f"{n} finished seeds; train more: python -m experiments.train {overrides}"
    asked, margin = f"at least {cfg.min_seeds}", f"{n - cfg.min_seeds:+d}"
    return Check(step, "seeds", asked, str(n), margin, reason, UNKNOWN)


def accuracy(step: str, cfg: DictConfig, values: list[float]) -> Check:
    """Whether the accuracies of a step's runs reach its target."""
    found, target = interval(values), percent(cfg.min_accuracy)
    words, figure = {
        "mean": ("the mean", found.mean),
        "lower_bound": ("the lower bound of the mean", found.low),
        "last_epoch": ("the lowest run", min(values)),
    }[cfg.judged_by]
    every = f"{percent(min(values))} to {percent(max(values))}"
    shown = every if cfg.judged_by == "last_epoch" else measured(found)
    asked = f"{words} at least {target}"
    if math.isinf(figure):
        reason = "an interval needs at least two runs that differ"
        return Check(step, "accuracy", asked, shown, "", reason, UNKNOWN)
    margin = 100 * (figure - cfg.min_accuracy)
    below = f"{words}, {percent(figure)}, is {-margin:.2f} points below {target}"
    reason = "" if reaches(figure, cfg.min_accuracy) else below
    return Check(step, "accuracy", asked, shown, f"{margin:+.2f}", reason)


def regression(step: str, arm: Arm, before: dict[str, float] | None, margin: float) -> Check:
    """Whether a step's runs are known to be worse than the baseline by no more than a margin."""
    asked = f"no worse than the baseline by more than {100 * margin:.2f} points"
    if before is None:
        reason = f"the baseline has no {arm.name}"
        return Check(step, "regression", asked, "", "", reason, UNKNOWN)
    found = difference(before, arm.scores)
    shown, verdict = points(found), found.no_worse(margin)
    left = "" if math.isinf(found.floor) else f"{100 * (found.floor + margin):+.2f}"
    if verdict == CANNOT_TELL:
        known = not math.isnan(found.deviation)
        needed = known and seeds_needed(margin / found.deviation, found.paired, ONE_SIDED)
        advice = "more seeds, also in the baseline"
        if needed and needed > found.n:
            advice = f"about {max(needed, LEAST)} seeds, also in the baseline"
        reason = f"cannot tell whether it is {asked}: {shown} with {found.n} seeds; train {advice}"
        return Check(step, "regression", asked, shown, left, reason, UNKNOWN)
    worse = f"worse than the baseline by {shown} points, more than {100 * margin:.2f}"
    return Check(step, "regression", asked, shown, left, "" if verdict == HOLDS else worse)


def read_scores(path: Path) -> dict[str, dict[str, float]]:
    """The accuracy of each seed of each arm, by name, from a file of experiments.compare csv=FILE.

    Raises:
        UserError: the file is missing, or is not such a file.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False).set_index("name")
        if not table.index.is_unique:
            raise ValueError("an arm stands there twice")
        columns = (table[column].str.split() for column in ("seeds", "accuracies"))
        return {
            restored(name): dict(zip(seeds, map(fraction, scores), strict=True))
            for name, seeds, scores in zip(table.index, *columns, strict=True)
        }
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{path}: not a table of arms ({one_line(error)}); "
            "create it with experiments.compare csv=FILE"
        ) from error
