"""What every command does around its work: Hydra before it, one clear line when it fails."""

import atexit
import difflib
import functools
import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from experiments.cli.compose import CIRCLE, CONF, complete, without_null_groups
from experiments.cli.config import flatten
from experiments.cli.errors import UserError, one_line, refuse_password, scrubbed
from experiments.cli.jobs import is_job, run_isolated
from experiments.cli.text import printable
from experiments.cli.yaml_files import explain_unreadable

LONGEST = 500  # characters of an error that a library describes
CONFIGURATION = (HydraException, OmegaConfBaseException, UserError)  # errors of the user's text
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # that interrupt a command

at_interrupt: list[Callable[[], None]] = []  # called after one of the signals
received: list[int] = []  # signals


class Interrupt(KeyboardInterrupt):
    """Not KeyboardInterrupt itself, after which Python may end with another status than ours."""


def interrupt(number: int, _: Any) -> None:
    received.append(number)
    raise Interrupt


def handle_signals() -> None:
    """End as after Ctrl-C at each of the signals, but for those ignored, as nohup does."""
    received.clear()
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)


@functools.cache  # once a process
def prepare_process() -> None:
    """Set up garbage collection, logging and Hydra, before torch and MLflow are imported.

    Their million objects live until the end of the process. Searching them for garbage took
    a quarter of the time of their import, and 2 s at the exit.
    """
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
    # a run logs to its file; if there is no handler, the import of MLflow adds one that prints
    logging.getLogger().addHandler(logging.NullHandler())
    explain_unreadable()


def program(
    name: str, failure: int = 1, sweep: bool = False
) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Decorate `main(cfg)` into a command that conf/NAME.yaml configures.

    A UserError, and any error in the configuration, ends it with one line on standard
    error and the exit status `failure`; a signal ends it with 128 + its number: 130 after
    Ctrl-C, 143 after SIGTERM, 129 after SIGHUP. Hydra's -m is refused, but for a `sweep`.
    """

    def fail(line: str) -> None:
        print(f"error: {printable(scrubbed(line))}", file=sys.stderr)
        sys.exit(failure)

    composed = False  # whether Hydra has composed a configuration

    def decorate(task: Callable[[DictConfig], Any]) -> Callable[[], None]:
        def checked(cfg: DictConfig) -> Any:
            from experiments.cli.checks import check  # --help need not wait for pydantic

            refuse_password(cfg)
            config = HydraConfig.get()
            cfg = complete(name, cfg, config.overrides.task, config.runtime.choices)
            check(cfg, name)
            return task(cfg)

        @functools.wraps(task)
        def job(cfg: DictConfig) -> None:
            nonlocal composed
            composed = True
            if is_job():
                handle_signals()
                prepare_process()  # a launcher may have started a process that did not run `main`
                run_isolated(checked, cfg)
                return
            try:
                checked(cfg)
            except UserError as error:
                fail(str(error))
            except OmegaConfBaseException as error:  # such as a reference to a missing value
                fail(one_line(error))

        @functools.wraps(task)
        def main() -> None:
            nonlocal composed
            composed = False
            prepare_process()
            handle_signals()
            sys.argv = without_null_groups(sys.argv)
            if not sweep and any(is_multirun(argument) for argument in sys.argv[1:]):
                fail("-m is for experiments.train and experiments.search; leave it out here")
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises errors instead of printing them
            try:
                hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(job)()
            except KeyboardInterrupt as interrupt:
                with suppress(OSError):  # the terminal may be gone
                    print(f"interrupted{interrupt}", file=sys.stderr)
                for finish in at_interrupt:
                    with suppress(OSError):
                        finish()
                sys.exit(128 + (received or SIGNALS)[0])
            except Exception as error:
                # in composing, whatever Hydra, OmegaConf or a YAML parser says of the user's text
                begun = composed or at_interrupt  # of a sweep, whose jobs may be other processes
                if begun and not isinstance(error, CONFIGURATION):
                    raise
                fail(_explain(error, name))

        return main

    return decorate


def is_multirun(argument: str) -> bool:
    """Whether an argument, which may be shortened, is one of Hydra's for a sweep."""
    key, _, value = argument.partition("=")
    shortened = len(argument) > 2 and "--multirun".startswith(argument)
    return argument == "-m" or shortened or (key, value.upper()) == ("hydra.mode", "MULTIRUN")


def _explain(error: Exception, name: str) -> str:
    """One line about a configuration that Hydra could not compose."""
    if isinstance(error, MissingConfigException) and error.options:
        group, _, choice = (error.missing_cfg_file or "").rpartition("/")
        return f"{group}={choice} does not exist; choose one of {', '.join(error.options)}"
    if isinstance(error, OverrideParseException):
        key, _, value = error.override.partition("=")
        return f"{key}={value} is not understood; try quotes of two kinds: \"{key}='{value}'\""
    if isinstance(error, RecursionError):
        return CIRCLE
    key = getattr(error.__cause__, "full_key", None)
    if isinstance(error, ConfigCompositionException) and key and "Could not override" in str(error):
        with hydra.initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            known = list(flatten(hydra.compose(name)))
        if key in known:
            return f"{key} cannot be set: {key.partition('.')[0]} is null, or not chosen"
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {near[0]}?" if near else "see --cfg job for all keys"
        return f"there is no key {key} in the configuration; {hint}"
    return one_line(error)[:LONGEST]
