"""Arms compared with each other, and which is the smallest network that holds its target."""

import math
import re
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from omegaconf import DictConfig

from experiments.cli.errors import UserError
from experiments.cli.text import measured, percent, pluralize
from experiments.stats.intervals import Interval, interval, judge, over_images
from experiments.stats.target import CANNOT_TELL, HOLDS
from experiments.stats.verdict import Difference, difference, holm, more_seeds
from experiments.tracking.arms import SEVERAL, Arm, gather, no_parameter
from experiments.tracking.artifacts import read_mistakes
from experiments.tracking.identity import PARTIAL, called, step_number, with_seed
from experiments.tracking.store import PARENT, STUDY, Store

MOST = 10_000_000  # images of which mistakes are read
MOST_KEYS = 5  # that a remark names

# in place of a name: why an arm is compared with none
OTHER_IMAGES, ITSELF = "none: other images", "none: the reference"
NO_STEP, FIRST = "none: it is no step", "none before it"
NO_MATCH = "none: no step before has its overrides, and it was not trained without them"


class Row(NamedTuple):
    """An arm, its accuracy, and its difference to another arm."""

    arm: Arm
    accuracy: Interval
    against: str  # the name of the other arm, or why there is none
    changed: str = ""  # the keys, with their values, in which it differs from the other arm
    difference: Difference | None = None
    p_holm: float = math.nan  # of the difference, corrected for all differences of the table
    no_worse: str = ""  # whether it is worse by no more than the margin
    more: int | None = None  # seeds that each arm still needs; None if unknown or over 1,000
    images: Interval | None = None  # over seeds and images, if all runs kept their mistakes


def of_store(cfg: DictConfig, store: Store) -> tuple[list[Row], list[str]]:
    """The comparison that a configuration of compare asks for, and what it leaves out.
    UserError: the store cannot be read, or there is nothing to compare."""
    with store.errors():
        runs, remarks = store.search(cfg.filter), []
        if left_out := sum({PARTIAL, PARENT} <= run.data.tags.keys() for run in runs):
            remarks.append(f"runs on part of their data, not counted: {left_out}")
        if cfg.filter is None:  # trials of a search are compared only if asked for
            runs = [run for run in runs if STUDY not in run.data.tags]
        arms = gather(runs, cfg.metric, cfg.group)
        if mixed := cfg.group and mixed_in(arms):
            remarks.append(
                f"runs of one row differ in {mixed}: add that to group=, or choose runs by filter="
            )
        failed = [with_seed(arm.name, f"seed {seed}") for arm in arms for seed in arm.failed]
        remarks += [f"{run} failed, and is not counted" for run in failed]
        if arms := [arm for arm in arms if arm.scores]:
            rows = compare(arms, str(cfg.against), cfg.margin, cfg.smallest_difference)
            if len(rows) > 1 and not any(row.difference for row in rows):
                remarks.append(f"against=first compares all with {rows[0].arm.name}")
            if len(rows) > 1 and (single := sum(row.accuracy.n == 1 for row in rows)):
                what = "with one seed, which tells no difference: train with 'seed=range(5)'"
                remarks.append(f"{pluralize(single, 'network')} {what}")
            return [row._replace(images=on_new_images(row.arm, store)) for row in rows], remarks
    known = sorted({name for run in store.search(None) for name in run.data.params})
    without_texts = re.sub("'[^']*'", "", cfg.filter or "")
    for name in re.findall(r"\bparams?\.([\w.]+)", without_texts) if known else ():
        if name not in known:
            raise UserError(f"filter: {no_parameter(name, known)}")
    asked = f"{cfg.tracking.experiment}{f' and filter={cfg.filter}' if cfg.filter else ''}"
    raise UserError(
        f"no finished run with {cfg.metric or 'an accuracy'} in experiment {asked}; "
        f"train first, for example: python -m experiments.train step=s13{'; '.join(['', *remarks])}"
    )


def by_images(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Rows apart by the images and the metric that they were judged by, each part with a sentence
    that says so; all rows without one, where these are the same."""
    parts: dict[tuple, list[Row]] = defaultdict(list)
    for row in rows:
        parts[row.arm.judged_on].append(row)
    if len(parts) == 1:
        return [("", [*rows])]
    titles = []
    for (digest, metric), (first, *_) in parts.items():
        images = first.arm.settings.get("data.train._target_", "").rpartition(".")[2] or "images"
        titles.append(f"By {metric} on {images} ({digest}), compared with no other images.")
    return [*zip(titles, parts.values(), strict=True)]


def mixed_in(arms: Sequence[Arm]) -> str:
    """The keys in which runs of one arm differ, but for the seed; of many, the first."""
    keys = sorted({key for arm in arms for key, value in arm.settings.items() if value == SEVERAL})
    more = f" and {len(keys) - MOST_KEYS} more" if len(keys) > MOST_KEYS else ""
    return ", ".join(keys[:MOST_KEYS]) + more


def compare(
    arms: Sequence[Arm], against: str = "previous", margin: float = 0.0005, smallest: float = 0.001
) -> list[Row]:
    """Compare each arm with another one; all have scores.

    Args:
        against: "previous": the step before with the same overrides, or else the same step
            without them; "first", of those judged by the same images; or a step or an arm,
            without its overrides where one arm alone has that name: "step 9", "s09", "9".
            UserError: no arm has it, or several.
        margin: by how much an arm may be lower and still be no worse; 0 to 1.
        smallest: the difference that more seeds should show; 0 to 1.
    """
    if against == "previous":
        chosen = _previous(arms)
    elif against == "first":
        first = {arm.judged_on: arm for arm in reversed(arms)}
        chosen = [first[arm.judged_on] for arm in arms]
    else:
        chosen = [_named(arms, against)] * len(arms)
    rows = [_row(arm, other, margin, smallest) for arm, other in zip(arms, chosen, strict=True)]
    corrected = holm([row.difference.p if row.difference else math.nan for row in rows])
    return [row._replace(p_holm=p) for row, p in zip(rows, corrected, strict=True)]


def _named(arms: Sequence[Arm], name: str) -> Arm:
    asked = called(re.sub(r"^(?:step=)?(\d+)$", r"step \1", name))
    begun = [arm for arm in arms if f"{called(arm.name)}, ".startswith(f"{asked}, ")]
    whole = [arm for arm in begun if called(arm.name) == asked]
    if len(found := whole or begun) != 1:
        others = map(shlex.quote, ["previous", "first", *(arm.name for arm in arms)])
        raise UserError(f"against={name}: choose one of {', '.join(others)}")
    return found[0]


def _previous(arms: Sequence[Arm]) -> Iterator[Arm | str]:
    """For each arm the step before with the same overrides, or else the same step without them;
    or why there is neither. A step without a number is one of a user's, and none comes after it."""
    plain = {(arm.judged_on, arm.title): arm for arm in arms}
    before: dict[tuple, dict[str, Arm]] = defaultdict(dict)  # by images and overrides: steps
    for arm in arms:
        step, _, overrides = arm.title.partition(", ")
        found, reason = None, NO_STEP
        if arm.step or "=" in step:  # the value of a key that arms were grouped by is one, too
            steps = before[arm.judged_on, overrides]
            found = next((steps[name] for name in reversed(steps) if name != step), None)
            reason = NO_MATCH if overrides else FIRST
            if "=" in step or step_number(step) is not None:
                steps[step] = arm
        yield found or plain.get((arm.judged_on, step if overrides else None)) or reason


def _row(arm: Arm, other: Arm | str, margin: float, smallest: float) -> Row:
    accuracy = interval(arm.values)
    if isinstance(other, str):
        return Row(arm, accuracy, against=other)
    if other is arm or other.judged_on != arm.judged_on:
        return Row(arm, accuracy, against=ITSELF if other is arm else OTHER_IMAGES)
    found = difference(other.scores, arm.scores)
    return Row(
        arm,
        accuracy,
        against=other.name,
        changed=changes(other.settings, arm.settings),
        difference=found,
        no_worse=found.no_worse(margin),
        more=more_seeds(found, smallest),
    )


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """The keys whose values differ, with those of `after`: "model.dropout=0.1, augmentation=null".
    An object is named by its class, without the module, and has none of the keys of one before."""
    texts = {}
    for key in sorted(before.keys() | after.keys()):
        owner, _, last = key.rpartition(".")
        gone = owner in texts and key not in after
        if before.get(key) == after.get(key) or gone or last == "_partial_":
            continue
        value = after.get(key, "null")
        if last == "_target_":
            texts[owner] = value.rpartition(".")[2]
        else:
            texts[key] = value.replace(", ", ",")
    return ", ".join(f"{key}={value}" for key, value in texts.items())


def smallest(rows: Sequence[Row]) -> str:
    """Which network is the smallest that holds its target; or that none does yet, and why."""
    sized = [row for row in rows if row.arm.target is not None and row.arm.parameters is not None]
    sized.sort(key=lambda row: row.arm.parameters)
    verdicts = [judge(row.accuracy, row.arm.target) for row in sized]
    if HOLDS in verdicts:
        found = sized[verdicts.index(HOLDS)]
        text = f" is {_reached(found)}."
        doubtful = (row for row, v in zip(sized, verdicts, strict=True) if v == CANNOT_TELL)
        if smaller := sum(row.arm.parameters < found.arm.parameters for row in doubtful):
            text += f" {smaller} smaller may hold theirs, too: more seeds would tell."
    elif sized:
        nearest = max(sized, key=lambda row: row.accuracy.mean - row.arm.target)
        unknown = verdicts.count(CANNOT_TELL)
        counts = {"missed by": len(sized) - unknown, "open for": unknown}
        counts = " and ".join(
            f"{what} {pluralize(count, 'network')}" for what, count in counts.items() if count
        )
        text = f": none yet, because targets are {counts}. The nearest is {_reached(nearest)}."
    else:
        text = ": none yet, because no network has a target (target.val_acc)."
    return f"The smallest network that holds its target{text}"


def _reached(row: Row) -> str:
    arm, found = row.arm, row.accuracy
    size, reached = f"{arm.parameters:,} parameters", f"{measured(found)}, n = {found.n}"
    target = f"target when it was last trained: {percent(arm.target)}"
    return f"{arm.name}, with {size}: {reached} ({target})"


def on_new_images(arm: Arm, store: Store) -> Interval | None:
    """The accuracy of an arm with its interval over seeds and images, if all its runs kept which
    images they got wrong."""
    if arm.images is None or not 0 < arm.images <= MOST:
        return None
    wrong = np.zeros((len(arm.runs), arm.images), bool)
    for line, run in zip(wrong, arm.runs, strict=True):
        if (found := read_mistakes(store.client, run, arm.images)) is None:
            return None
        line[found["image"]] = True
    return over_images(wrong)
