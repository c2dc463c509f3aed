"""Whether a sweep over seeds needs one more: its arms are judged after each seed."""

import itertools
from pathlib import Path
from typing import NamedTuple

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from experiments.cli.compose import compose
from experiments.cli.errors import UserError
from experiments.cli.jobs import is_job
from experiments.cli.keys import key_of
from experiments.data.digest import known_digest
from experiments.stats.sequential import FIRST, decide
from experiments.stats.verdict import CANNOT_TELL, FAILS, HOLDS
from experiments.tracking import arms
from experiments.tracking.part_of_data import refuse_part
from experiments.tracking.store import Store

USAGE = "until_verdict is for a sweep that begins with its seeds: -m 'seed=range(20)' step=s12,s13"
CLAIM = "all verdicts together are right with 95 %, over all looks"


class State(NamedTuple):
    """Whether the run of a job may still change a verdict, whether it is the last of its sweep,
    and the verdicts in words."""

    needed: bool
    last: bool
    text: str


def look(cfg: DictConfig) -> State:
    """What the runs in the store say of the arms of the sweep that this job is of.

    With `until_verdict=target`, whether each arm reaches its target; with a margin, whether each
    is worse than the first by no more than that, seed by seed.

    Raises:
        UserError: this is no such sweep: its arms would not take turns.
    """
    hydra = HydraConfig.get()
    kept = Path(hydra.runtime.cwd, hydra.sweep.dir, "multirun.yaml")  # Hydra's own
    refuse_part(cfg)
    given = OmegaConf.load(kept).hydra.overrides.task if is_job() else []
    loader = GlobalHydra.instance().config_loader()
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(given)
    swept = {
        one.get_key_element(): list(one.sweep_string_iterator())
        for one in parsed
        if one.is_sweep_override()
    }
    margin = None if cfg.until_verdict == "target" else cfg.until_verdict
    if next(iter(swept), None) != "seed" or (margin and len(swept) == 1):
        raise UserError(USAGE)
    if len(seeds := swept.pop("seed")) < FIRST:
        raise UserError(f"until_verdict needs at least {FIRST} seeds")
    typed = dict(item.partition("=")[::2] for item in hydra.overrides.task)
    rest = [item for item in hydra.overrides.task if key_of(item) not in (*swept, "seed")]
    store, values, targets = Store(cfg.tracking), [], []
    own = [dict(zip(swept, chosen, strict=True)) for chosen in itertools.product(*swept.values())]
    for changed in own:
        arm = compose("train", [*rest, *(f"{key}={value}" for key, value in changed.items())])
        runs = arms.of(store, arm, known_digest(arm))
        scores = runs.scores if runs else {}
        values.append([scores[s] for s in itertools.takewhile(scores.__contains__, seeds)])
        targets.append(arm.target.val_acc)
    names = [" ".join(f"{key}={value}" for key, value in one.items()) or "the mean" for one in own]
    if margin is None:
        if None in targets:
            raise UserError("until_verdict=target: give target.val_acc")
        words = {HOLDS: "reaches its target", FAILS: "misses its target"}
        judged = list(zip(names, values, targets, strict=True))
    else:
        close = f"worse than {names[0]} by more than {100 * margin:.2f} points"
        words = {HOLDS: f"is not {close}", FAILS: f"is {close}"}
        pairs = ([b - a for a, b in zip(values[0], each, strict=False)] for each in values[1:])
        judged = [(name, pair, -margin) for name, pair in zip(names[1:], pairs, strict=True)]
    found = {name: decide(each, bound, len(seeds), len(judged)) for name, each, bound in judged}
    mine = names[own.index({key: typed[key] for key in swept})]
    still = found[mine].open if mine in found else any(one.open for one in found.values())
    lines = [
        f"{name}: {words.get(one.verdict, CANNOT_TELL)} ({one.n} seeds)"
        for name, one in found.items()
    ]
    last = typed["seed"] == seeds[-1] and mine == names[-1]
    return State(still, last, "\n".join([*lines, CLAIM]))
