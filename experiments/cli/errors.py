"""Mistakes that the user can correct, and passwords kept out of every message."""

import os
import re

from omegaconf import DictConfig, OmegaConf

# URIs that may hold one, and where they may come from then
PASSWORDS = {"tracking.uri": "MLFLOW_TRACKING_URI", "storage": "OPTUNA_STORAGE"}


class UserError(Exception):
    """Something that the user can mend: printed as one line, with no traceback."""


def scrubbed(text: str) -> str:
    """A text without the passwords of the URLs in it."""
    return re.sub(r"(://[^:/@\s]*):[^@/\s]+@", r"\1:***@", text)


def refuse_password(cfg: DictConfig) -> None:
    """Keep a password off the command line, and so out of histories, process lists and dumps.

    Raises:
        UserError: a URI has one, and does not come from the environment.
    """
    for key, variable in PASSWORDS.items():
        uri = str(OmegaConf.select(cfg, key))
        if scrubbed(uri) != uri and uri != os.environ.get(variable):
            raise UserError(
                f"{key}={scrubbed(uri)}: a password does not belong on the command line; "
                f"set {variable} in the environment instead"
            )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
