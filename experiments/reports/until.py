"""Whether a sweep over seeds needs one more: its arms are judged after each seed."""

import itertools
import math
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from experiments.cli.compose import compose, swept
from experiments.cli.errors import UserError
from experiments.cli.jobs import is_job
from experiments.cli.keys import key_of
from experiments.cli.text import on_target
from experiments.data.digest import known_digest
from experiments.stats.sequential import CLAIM, FIRST, Decision, decide
from experiments.stats.target import CANNOT_TELL, FAILS, HOLDS
from experiments.tracking import arms
from experiments.tracking.identity import with_seed
from experiments.tracking.store import Store

USAGE = "until_verdict is for a sweep that begins with its seeds: -m 'seed=range(20)' step=s12,s13"


def judge_arms(cfg: DictConfig) -> tuple[bool, list[str]]:
    """What the runs in the store say of the arms of the sweep that this job is of: whether the run
    of this job may still change a verdict, and the verdicts in words.

    With `until_verdict=target`, whether each arm reaches its target; with a margin, whether each
    is worse than the first by no more than that, seed by seed. An arm of which a seed diverged
    fails, unless that seed failed in the first arm too; seeds that failed otherwise are not
    counted. UserError: this is no such sweep: its arms would not take turns.
    """
    hydra = HydraConfig.get()
    kept = Path(hydra.runtime.cwd, hydra.sweep.dir, "multirun.yaml")  # Hydra's own
    given = OmegaConf.load(kept).hydra.overrides.task if is_job() else []
    varied = swept(given)
    margin = None if cfg.until_verdict == "target" else cfg.until_verdict
    if next(iter(varied), None) != "seed" or (margin and len(varied) == 1):
        raise UserError(USAGE)
    if len(seeds := varied.pop("seed")) < FIRST:
        raise UserError(f"until_verdict needs at least {FIRST} seeds")
    typed = dict(item.partition("=")[::2] for item in hydra.overrides.task)
    rest = [item for item in hydra.overrides.task if key_of(item) not in (*varied, "seed")]
    own = [
        [f"{key}={value}" for key, value in zip(varied, chosen, strict=True)]
        for chosen in itertools.product(*varied.values())
    ]
    names = [" ".join(changed) or "the mean" for changed in own]
    words = {each: on_target(each, "its target") for each in (HOLDS, FAILS, CANNOT_TELL)}
    if margin:
        close = f"worse than {names[0]} by more than {100 * margin:.2f} points"
        words = {HOLDS: f"is not {close}", FAILS: f"is {close}", CANNOT_TELL: CANNOT_TELL}
    store, first, found, lines = Store(cfg.tracking), None, {}, []
    for name, changed in zip(names, own, strict=True):
        arm = compose("train", [*rest, *changed])
        runs, bound = arms.of(store, arm, known_digest(arm)), arm.target.val_acc
        failed, scores = (runs.failed, runs.scores) if runs else ({}, {})
        ended = dict.fromkeys(failed, math.nan) | scores
        done = list(itertools.takewhile(ended.__contains__, seeds))
        values, lost = [ended[seed] for seed in done], [seed for seed in done if seed in failed]
        lines += [f"{with_seed(runs.name, f'seed {seed}')} failed: {failed[seed]}" for seed in lost]
        diverged = [done.index(seed) for seed in lost if failed[seed].startswith("Diverged")]
        if margin and first is None:
            first = values
            continue
        if margin:  # where the first arm has no accuracy, a seed tells nothing about the other
            diverged = [n for n in diverged if n < len(first) and not math.isnan(first[n])]
            values, bound = [b - a for a, b in zip(first, values, strict=False)], -margin
        if bound is None:
            raise UserError("until_verdict=target: give target.val_acc")
        before = values[: min(diverged, default=None)]
        before = [value for value in before if not math.isnan(value)]
        one = decide(before, bound, len(seeds), len(own) - bool(margin))
        found[name] = Decision(FAILS, one.n, open=False) if diverged and one.open else one
        lines.append(f"{name}: {words[found[name].verdict]} ({one.n} seeds)")
    mine = " ".join(f"{key}={typed[key]}" for key in varied) or "the mean"
    still = found[mine].open if mine in found else any(one.open for one in found.values())
    return still, [*lines, CLAIM]
