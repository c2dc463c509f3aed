"""Checks of constructor arguments, with one kind of message. All raise ValueError."""

from collections.abc import Collection, Sequence
from typing import Any


def require_integers(name: str, values: Any, minimum: int = 1) -> None:
    """The values must be a list, empty or not, of integers of at least `minimum`."""
    integers = isinstance(values, Sequence) and all(type(value) is int for value in values)
    if not integers or any(value < minimum for value in values):
        kind = "positive integers" if minimum == 1 else f"integers of at least {minimum}"
        raise ValueError(f"{name} must be {kind}, not {values}")


def require_number(name: str, value: Any, low: float, high: float) -> None:
    """The value must be a number in [low, high]."""
    if type(value) not in (int, float) or not low <= value <= high:
        raise ValueError(f"{name} must be a number from {low} to {high}, not {value}")


def require_probability(name: str, value: Any) -> None:
    """The value must be a number in [0, 1)."""
    if type(value) not in (int, float) or not 0 <= value < 1:
        raise ValueError(f"{name} must be a number from 0 to below 1, not {value}")


def require_choice(name: str, value: Any, choices: Collection[str]) -> None:
    """The value must be one of the choices."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, not {value}")
