"""Figures as text: accuracies, intervals, differences and times; and text of unknown origin."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from experiments.stats.target import CANNOT_TELL, FAILS, HOLDS, reaches

if TYPE_CHECKING:
    from experiments.stats.intervals import Interval
    from experiments.stats.verdict import Difference

ON_TARGET = {HOLDS: "reaches", FAILS: "misses", CANNOT_TELL: "cannot tell whether it reaches"}


def printable(text: str) -> str:
    """A text of any origin as one line without commands to a terminal or to GitHub's log: control
    characters as Python writes them, such as \\x1b, and a backslash before a word that begins with
    :: or ##[."""
    spaced = re.sub(r"[\r\n\t]", " ", text)
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in spaced)
    return re.sub(r"(?<!\S)(?=::|##\[)", r"\\", "".join(shown))


def against(accuracy: float, target: float | None) -> str:
    """Whether an accuracy reaches its target, and by how many points; both 0 to 1."""
    if target is None:
        return ""
    verdict = on_target(HOLDS if reaches(accuracy, target) else FAILS, percent(target))
    return f"{verdict} by {100 * abs(accuracy - target):.2f}"


def on_target(verdict: str, target: str) -> str:
    """The verdict of a mean in words: "reaches 99.30 %"."""
    return f"{ON_TARGET[verdict]} {target}"


def percent(fraction: float | None) -> str:
    """A fraction as a percentage: "99.30 %"; empty for None."""
    return "" if fraction is None else f"{fraction * 100:.2f} %"


def measured(found: Interval) -> str:
    """A mean accuracy with its interval: "99.30 % (99.24 to 99.35)"."""
    between = limits(found)
    return f"{percent(found.mean)} ({between})" if between else percent(found.mean)


def limits(found: Interval) -> str:
    """The interval of an accuracy, in percent: "99.24 to 99.35"; empty where it is unknown."""
    known = not math.isinf(found.low)
    return f"{100 * found.low:.2f} to {100 * min(found.high, 1):.2f}" if known else ""


def points(found: Difference) -> str:
    """A difference with its interval, in points: "+0.04 (-0.02 to +0.10)"."""
    mean, low, high = (f"{100 * value:+.2f}".replace("-0.00", "+0.00") for value in found[:3])
    return mean if math.isinf(found.low) else f"{mean} ({low} to {high})"


def pluralize(number: int, noun: str) -> str:
    """How many there are of what: "1 job", "14 epochs"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Seconds in words: "2 min 5 s", "3 h 20 min"."""
    minutes, seconds = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def trained_on(tags: dict[str, str]) -> str:
    """The device that trained a run, by its tags: "cpu (AMD EPYC)"."""
    known = {"device", "device.name"} <= tags.keys()
    return f"{tags['device']} ({tags['device.name']})" if known else "unknown"


def unusual(tags: dict[str, str]) -> list[str]:
    """What trained a run, where that was not the fastest, or not the same in all epochs."""
    slower, changes = tags.get("backend", ""), tags.get("backend.changes")
    found = [f"slower than it could be: {slower}"] if ", as " in slower else []
    return found + ([f"trained in more than one way: {changes}"] if changes else [])
