"""Checks of the gate on the tracked runs of a step: seeds, accuracy, and a baseline."""

import math
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from experiments.cli.errors import UserError, one_line
from experiments.cli.keys import key_of
from experiments.cli.tables import restored
from experiments.cli.text import measured, percent, pluralize, points
from experiments.data.digest import known_digest
from experiments.reports.comparison import changes
from experiments.reports.targets import Check
from experiments.stats.intervals import interval
from experiments.stats.target import FAILS, HOLDS, MISSED, NO_VERDICT, reaches
from experiments.stats.verdict import LEAST, difference, seeds_needed
from experiments.tracking import arms
from experiments.tracking.arms import Arm, fraction
from experiments.tracking.identity import OVERRIDE, is_setting, with_seed
from experiments.tracking.run import parameters
from experiments.tracking.store import STUDY, Store

ONE_SIDED = 0.1  # alpha of both sides, for 5 % on one


class Scores(NamedTuple):
    """The accuracies of an arm in a baseline, and what they are of; see Arm."""

    scores: dict[str, float]
    judged_on: tuple[str, str]


def evidence(cfg: DictConfig, steps: dict[str, DictConfig]) -> Iterator[Check]:
    """What the runs of steps, by their names, reached: beside their targets and the baseline.
    UserError: the store or the baseline cannot be read."""
    baseline = read_scores(Path(cfg.baseline)) if cfg.baseline else None
    store = Store(cfg.tracking, create=False)
    trained = list(compose("train"))  # the other keys are the gate's own
    with store.errors():
        for name, step in steps.items():
            asked = OmegaConf.masked_copy(step, trained)
            arm = arms.of(store, asked, known_digest(step))
            found = "" if arm and arm.scores else nearest(store, asked)
            yield check_seeds(name, step, arm, trained, found)
            if arm and arm.scores and step.min_accuracy is not None:
                yield check_accuracy(name, step, arm.values)
            if arm and arm.scores and baseline is not None:
                yield check_regression(name, arm, baseline.get(arm.name), cfg.margin)


def nearest(store: Store, cfg: DictConfig) -> str:
    """Of a step's arms with other settings, the one with the fewest others, and the overrides by
    which the gate judges it; empty if there is none."""
    group, given = "experiment" if cfg.experiment else "step", parameters(cfg)
    asked = {key: value for key, value in given.items() if is_setting(key) and value != "None"}
    runs = [run for run in store.matching({group: cfg[group]}) if STUDY not in run.data.tags]
    others = [(changes(asked, arm.settings), arm) for arm in arms.gather(runs) if arm.scores]
    if not others:
        return ""
    differing, arm = min(others, key=lambda each: (each[0].count("="), -len(each[1].scores)))
    overrides = shlex.join(re.split(OVERRIDE, arm.title)[1:])
    how = f"judged with the overrides {overrides}" if overrides else f"which has {differing}"
    how = how if differing else "on other images"
    return f"; nearest: {pluralize(len(arm.scores), 'seed')} of {arm.name}, {how}"


def check_seeds(
    step: str, cfg: DictConfig, arm: Arm | None, trained: list[str], others: str
) -> Check:
    """Whether enough seeds have finished, and none has failed. `trained`: the keys of train;
    `others`: what there is in place of the seeds."""
    n, reason = len(arm.scores) if arm else 0, ""
    if arm and arm.failed:
        failed = "; ".join(with_seed(arm.name, f"seed {seed}") for seed in arm.failed)
        reason = f"{failed} failed: train again, or see why in the run's log"
    elif n < cfg.min_seeds:
        more = training(step, cfg, trained)
        reason = f"{pluralize(n, 'finished seed')}{others}; train more: {more}"
    asked, margin = f"at least {cfg.min_seeds}", f"{n - cfg.min_seeds:+d}"
    return Check(step, "seeds", asked, str(n), margin, reason, NO_VERDICT)


def training(step: str, cfg: DictConfig, trained: list[str]) -> str:
    """The command that trains as many seeds as the gate asks for, of what it judges."""
    hydra, group = HydraConfig.get(), "experiment" if cfg.experiment else "step"
    own = {*trained} - {group, "seed"}
    given = [item for item in hydra.overrides.task if key_of(item).split(".")[0] in own]
    sources = [s for s in hydra.runtime.config_sources if s.provider.endswith("command-line")]
    if sources:
        given.append(f"hydra.searchpath=[{','.join(f'{s.schema}://{s.path}' for s in sources)}]")
    overrides = [f"{group}={step}", *given, f"seed=range({cfg.min_seeds})"]
    return shlex.join(["python", "-m", "experiments.train", "-m", *overrides])


def check_accuracy(step: str, cfg: DictConfig, values: list[float]) -> Check:
    """Whether the accuracies of a step's runs reach its target."""
    found, target = interval(values), percent(cfg.min_accuracy)
    words, figure = {
        "mean": ("the mean", found.mean),
        "lower_bound": ("the lower bound of the mean", found.low),
        "last_epoch": ("the lowest run", min(values)),
    }[cfg.judged_by]
    every = f"{percent(min(values))} to {percent(max(values))}"
    shown = every if cfg.judged_by == "last_epoch" else measured(found)
    check = Check(step, "accuracy", f"{words} at least {target}", shown)
    if math.isinf(figure):
        reason = "an interval needs at least two runs that differ"
        return check._replace(reason=reason, otherwise=NO_VERDICT)
    margin = 100 * (figure - cfg.min_accuracy)
    below = f"{words}, {percent(figure)}, is {-margin:.2f} points below {target}"
    reason = "" if reaches(figure, cfg.min_accuracy) else below
    return check._replace(margin=f"{margin:+.2f}", reason=reason)


def check_regression(step: str, arm: Arm, before: Scores | None, margin: float) -> Check:
    """Whether a step's runs are known to be worse than the baseline by no more than a margin."""
    asked = f"no worse than the baseline by more than {100 * margin:.2f} points"
    check = Check(step, "regression", asked, otherwise=NO_VERDICT)
    if before is None:
        return check._replace(reason=f"the baseline has no {arm.name}")
    if before.judged_on != arm.judged_on:
        texts = (f"{metric} on {digest}" for digest, metric in (before.judged_on, arm.judged_on))
        images = "the baseline was judged by {}, these runs by {}".format(*texts)
        return check._replace(reason=f"other images, or another metric: {images}")
    found = difference(before.scores, arm.scores)
    shown, verdict = points(found), found.no_worse(margin)
    left = "" if math.isinf(found.floor) else f"{100 * (found.floor + margin):+.2f}"
    check = check._replace(measured=shown, margin=left)
    if verdict == HOLDS:
        return check
    if verdict == FAILS:
        lower = found._replace(mean=-found.mean, low=-found.high, high=-found.low)
        by = points(lower).replace("+", "")
        worse = f"{by} points below the baseline, more than {100 * margin:.2f}"
        return check._replace(reason=worse, otherwise=MISSED)
    known = not math.isnan(found.deviation)
    needed = known and seeds_needed(margin / found.deviation, found.paired, ONE_SIDED)
    more = f"about {max(needed, LEAST)}" if needed and needed > found.n else "more"
    advice = f"train {more} seeds, also in the baseline"
    reason = (
        f"cannot tell whether it is {asked}: {shown} with {pluralize(found.n, 'seed')}; {advice}"
    )
    return check._replace(reason=reason)


def read_scores(path: Path) -> dict[str, Scores]:
    """The accuracy of each seed of each arm, by name, from a file of experiments.compare csv=FILE.
    UserError: it is missing, or is not such a file."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False).set_index("name")
        if not table.index.is_unique:
            raise ValueError("an arm is listed twice")
        columns = (table[column].str.split() for column in ("seeds", "accuracies"))
        judged_on = zip(table["digest"], table["metric"], strict=True)
        return {
            restored(name): Scores(dict(zip(seeds, map(fraction, scores), strict=True)), images)
            for name, seeds, scores, images in zip(table.index, *columns, judged_on, strict=True)
        }
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{path}: not a table of arms ({one_line(error)}); "
            "create it with experiments.compare csv=FILE"
        ) from error
