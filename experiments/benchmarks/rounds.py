"""Contenders that take turns, and a summary of their times."""

import statistics
import sys
from collections.abc import Callable

OURS = "ours"  # the contender that the others are compared with

Figures = dict[str, float]  # of one turn: seconds, and whatever else was measured

Contender = Callable[[], Figures]


def take_turns(contenders: dict[str, Contender], rounds: int) -> dict[str, list[Figures]]:
    """Run all contenders one after the other, `rounds` times."""
    turns: dict[str, list[Figures]] = {name: [] for name in contenders}
    for turn in range(1, rounds + 1):
        for name, run in contenders.items():
            figures = run()
            turns[name].append(figures)
            seconds = f"{figures['seconds']:.2f} s"
            print(f"round {turn} of {rounds}, {name}: {seconds}", file=sys.stderr)
    return turns


def summary(name: str, turns: dict[str, list[Figures]]) -> dict[str, str | float]:
    """Medians of a contender's figures, and of the ratios of its seconds to ours by round."""
    own, ours = turns[name], turns[OURS]
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(own, ours, strict=True)]
    return {
        "name": name,
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        **{key: statistics.median(figures[key] for figures in own) for key in own[0]},
    }
