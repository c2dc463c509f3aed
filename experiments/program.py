"""What every program does around its work: Hydra before it, one clear line when it fails."""

import atexit
import difflib
import functools
import gc
import logging
import math
import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from hydra.types import RunMode
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

CONF = Path(__file__).resolve().parents[1] / "conf"
# URIs that may hold one, and where they may come from then
PASSWORDS = {"tracking.uri": "MLFLOW_TRACKING_URI", "storage": "OPTUNA_STORAGE"}
INTERRUPTED = 128 + signal.SIGINT
at_interrupt: list[Callable[[], None]] = []  # what is left to do after Ctrl-C

# logs go to files, see train.log: without a handler here, the import of MLflow adds one that prints
logging.getLogger().addHandler(logging.NullHandler())
# torch, Lightning and MLflow are a million objects that live to the end: to look for garbage among
# them takes a quarter of their import, and two seconds at the exit
gc.set_threshold(50_000)
atexit.register(gc.freeze)


class UserError(Exception):
    """Something that the user can mend: printed as one line, with no traceback."""


def program(
    name: str, failure: int = 1
) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Decorate `main(cfg)` into a program configured by conf/NAME.yaml.

    A UserError, and any mistake in the configuration, ends it with one line on
    standard error and the status `failure`; Ctrl-C and SIGTERM end it with 130.
    """

    def fail(line: str) -> None:
        print(f"error: {scrubbed(line)}", file=sys.stderr)
        sys.exit(failure)

    def decorate(task: Callable[[DictConfig], Any]) -> Callable[[], None]:
        @functools.wraps(task)
        def job(cfg: DictConfig) -> None:
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                from experiments.sweep import isolated

                isolated(task, cfg)
                return
            try:
                task(cfg)
            except UserError as error:
                fail(str(error))
            except OmegaConfBaseException as error:  # a value that refers to another that is not
                fail(_one_line(error))

        @functools.wraps(task)
        def main() -> None:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # so that errors reach us instead of being printed
            try:
                hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(job)()
            except KeyboardInterrupt as interrupt:
                print(f"interrupted{interrupt}", file=sys.stderr)
                for finish in at_interrupt:
                    finish()
                sys.exit(INTERRUPTED)
            except (HydraException, OmegaConfBaseException) as error:
                fail(_explain(error, name))

        return main

    return decorate


def build(cfg: DictConfig, key: str, *args: Any, **kwargs: Any) -> Any:
    """Instantiate the part of the configuration at `key`; None where there is none.

    Raises:
        UserError: the class refuses a value, and says why.
    """
    part = OmegaConf.select(cfg, key)
    if part is None:
        return None
    try:
        return instantiate(part, *args, **kwargs)
    except HydraException as error:
        raise UserError(f"{key}: {_one_line(error.__cause__ or error)}") from error


def whole(cfg: DictConfig, key: str, minimum: int) -> int:
    """The whole number at `key`. Raises UserError where it is none, or below the minimum."""
    value = OmegaConf.select(cfg, key)
    if type(value) is not int or value < minimum:
        raise UserError(f"{key} must be a whole number of at least {minimum}, not {value}")
    return value


def flatten(cfg: DictConfig) -> dict[str, Any]:
    """Every leaf of a configuration under its dotted key; lists are leaves."""
    flat: dict[str, Any] = {}

    def walk(node: Any, key: str) -> None:
        if isinstance(node, dict) and node:
            for name, child in node.items():
                walk(child, f"{key}.{name}" if key else str(name))
        else:
            flat[key] = node

    walk(OmegaConf.to_container(cfg, resolve=True), "")
    return flat


def number(cfg: DictConfig, key: str, above: float, to: float = math.inf) -> float:
    """The number at `key`. Raises UserError where it is none, or not in (above, to]."""
    value = OmegaConf.select(cfg, key)
    if type(value) not in (int, float) or not above < value <= to:
        upper = f" and at most {to}" if to < math.inf else ""
        raise UserError(f"{key} must be a number above {above}{upper}, not {value}")
    return value


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


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all. Raises UserError where it cannot be written."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):  # of a path that cannot be, it says so again
            temporary.unlink()
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error


def _explain(error: Exception, name: str) -> str:
    """One line for a configuration that Hydra could not compose."""
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = (error.missing_cfg_file or "").rpartition("/")
        return f"{group}={choice} does not exist; choose one of {', '.join(error.options)}"
    if isinstance(error, OverrideParseException):
        key, _, value = error.override.partition("=")
        return f"{key}={value} is not understood; try quotes of two kinds: \"{key}='{value}'\""
    key = getattr(error.__cause__, "full_key", None)
    if isinstance(error, ConfigCompositionException) and key and "Could not override" in str(error):
        with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            known = list(flatten(hydra.compose(name)))
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {near[0]}?" if near else "see --cfg job for all keys"
        return f"there is no key {key} in the configuration; {hint}"
    return _one_line(error)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
