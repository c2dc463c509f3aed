"""The Pareto front: what costs less or is worth more than all others."""

from collections.abc import Sequence


def front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points (cost, value) for which no other costs less, or as much, and is worth more."""
    found: list[tuple[float, float]] = []
    for cost, value in sorted(points, key=lambda point: (point[0], -point[1])):
        if not found or value > found[-1][1]:
            found.append((cost, value))
    return found
