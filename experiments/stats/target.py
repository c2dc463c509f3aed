"""The words of verdicts, and the one rule for whether an accuracy reaches its target."""

BETTER, WORSE = "better", "worse"
HOLDS, FAILS, CANNOT_TELL = "holds", "fails", "cannot tell"
MISSED, NO_VERDICT = "missed", "no verdict"  # of the gate
ROUNDING = 1e-6  # stores and networks keep accuracies with 32 bits


def reaches(accuracy: float, target: float) -> bool:
    """Whether an accuracy is at least its target, within rounding."""
    return accuracy >= target - ROUNDING
