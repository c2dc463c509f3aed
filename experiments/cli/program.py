"""What every program does around its work: Hydra before it, one clear line when it fails."""

import atexit
import difflib
import functools
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
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
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from experiments.cli.config import flatten
from experiments.cli.errors import UserError, _one_line, scrubbed

CONF = Path(__file__).resolve().parents[2] / "conf"

INTERRUPTED = 128 + signal.SIGINT

at_interrupt: list[Callable[[], None]] = []  # what is left to do after Ctrl-C

# logs go to files, see train.log: without a handler here, the import of MLflow adds one that prints
logging.getLogger().addHandler(logging.NullHandler())

# torch, Lightning and MLflow are a million objects that live to the end: to look for garbage among
# them takes a quarter of their import, and two seconds at the exit
gc.set_threshold(50_000)

atexit.register(gc.freeze)


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
                from experiments.cli.jobs import isolated

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
