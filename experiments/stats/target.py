"""The words of verdicts, and the one rule for whether an accuracy reaches its target."""

HOLDS, FAILS, CANNOT_TELL = "holds", "fails", "cannot tell"
ROUNDING = 1e-6  # stores and networks keep accuracies with 32 bits


def reaches(accuracy: float, target: float) -> bool:
    """Whether an accuracy is at least its target, within rounding."""
    return accuracy >= target - ROUNDING
