"""Contenders that are timed in turns, and what their times say."""

import statistics
import sys
from collections.abc import Callable

OURS = "ours"  # the contender that the others are held against

Figures = dict[str, float]  # of one turn: seconds, and what else was seen

Contender = Callable[[], Figures]


def take_turns(contenders: dict[str, Contender], rounds: int) -> dict[str, list[Figures]]:
    """Let all contenders run one after the other, `rounds` times."""
    turns: dict[str, list[Figures]] = {name: [] for name in contenders}
    for turn in range(1, rounds + 1):
        for name, run in contenders.items():
            turns[name].append(run())
            told = f"round {turn} of {rounds}, {name}: {turns[name][-1]['seconds']:.2f} s"
            print(told, file=sys.stderr)
    return turns


def summary(name: str, turns: dict[str, list[Figures]]) -> dict[str, str | float]:
    """Medians of a contender's figures, and of the ratios of its seconds to ours, turn by turn."""
    mine, ours = turns[name], turns[OURS]
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(mine, ours, strict=True)]
    return {
        "name": name,
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        **{key: statistics.median(figures[key] for figures in mine) for key in mine[0]},
    }
