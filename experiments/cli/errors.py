"""Errors that the user can correct, and passwords kept out of every message."""

import os
import re

from omegaconf import DictConfig, OmegaConf

# keys of URIs that may hold a password, and the variables to set such a URI with
SECRET_URIS = {"tracking.uri": "MLFLOW_TRACKING_URI", "storage": "OPTUNA_STORAGE"}

# Not SQLAlchemy's URL, which reads a URI alone: log lines and tracebacks hold them within text.
# A password may contain / and @, so everything up to the last @ is removed.
PASSWORD = re.compile(r"(://[^:/@\s]*):\S+@")
TOKEN = re.compile(r"(https?://)[^/:@\s]+@")  # where databases have a user, a server has a token
QUERY = re.compile(r"(?i)([?&;][\w.-]*(?:password|passwd|pwd|token|secret)[\w.-]*=)[^&;\s]+")
LONGEST = 500  # characters of a library's error


class UserError(Exception):
    """An error that the user can correct: printed as one line, without a traceback."""


def one_line(error: BaseException) -> str:
    """The message of an error on one line; of a library's, which may quote whole files, the
    beginning."""
    text = " ".join(str(error).split())
    return text if isinstance(error, UserError) else text[:LONGEST]


def scrubbed(text: str) -> str:
    """A text with *** in place of the passwords in its URIs."""
    for variable in SECRET_URIS.values():  # known as a whole, so also with a space
        if " " in (uri := os.environ.get(variable, "")):
            text = text.replace(uri, uri.replace(" ", "%20"))
    return QUERY.sub(r"\1***", TOKEN.sub(r"\1***@", PASSWORD.sub(r"\1:***@", text)))


def refuse_password(cfg: DictConfig) -> None:
    """Raise UserError where a URI has a password, and is not from the environment: the command
    line is in shell histories and process lists."""
    for key, variable in SECRET_URIS.items():
        uri = str(OmegaConf.select(cfg, key))
        shown = scrubbed(uri.replace(" ", "%20"))
        if "***" in shown and uri != os.environ.get(variable):
            raise UserError(
                f"{key}={shown}: a password does not belong on the command line; "
                f"set {variable} in the environment instead"
            )
