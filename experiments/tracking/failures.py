"""What an error of a store or a database says, and what to do about it."""

import re

ADVICE = {  # what to do, by what an error says
    r"is full|no space left|file too large|quota exceeded|disk i/o": "free space on its disk",
    r"can't locate revision": "a newer MLflow made it: install that, or use another store",
    r"error code 40[13]|unauthori[sz]ed|authentication failed|access denied": (
        "check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    ),
    r"read-?only|permission denied": "make it writable, or use another store",
    r"no module named": "install it, or use another store",
    r"found version none|not a database|malformed|duplicate column|already exists|no such table": (
        "it is damaged, half-made or not MLflow's: move it away, or use another store"
    ),
    r"out-of-date database schema": "keep a copy and upgrade it, or use another store",
    r"current state is deleted": "restore it in MLflow",
    r"refused|timed out|max retries|connection": "start it, or check its address",
}


def reason(error: BaseException) -> str:
    """The first line of an error, or of the database's error that caused it."""
    origin = getattr(error, "orig", None) or error
    lines = str(origin).splitlines() or [type(origin).__name__]
    return lines[0]


def advised(error: BaseException) -> str:
    """What happened, and what to do about it where that is known."""
    text = reason(error)
    found = (advice for sign, advice in ADVICE.items() if re.search(sign, text, re.IGNORECASE))
    return f"{text}; {advice}" if (advice := next(found, None)) else text
