"""What every command does around its work: Hydra before it, one clear line when it fails."""

import atexit
import functools
import gc
import logging
import os
import select
import signal
import sys
import traceback
import warnings
from argparse import Namespace
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser  # its own is the only one that knows its flags
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import env_override
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from experiments.cli.compose import CONF, explain, readable, started, use_loader
from experiments.cli.errors import UserError, refuse_password, scrubbed
from experiments.cli.jobs import is_job, refuse_chdir, run_isolated
from experiments.cli.keys import key_of
from experiments.cli.text import printable

NO_SWEEP = "-m, or hydra.mode=MULTIRUN, is for experiments.train and .search; leave it out"
CONFIGURATION = (HydraException, OmegaConfBaseException, UserError)  # errors of the user's text
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # that interrupt a command

at_end = ExitStack()  # what a sweep does when it ends, in whatever way
received: list[int] = []  # signals


class Interrupt(KeyboardInterrupt):
    """Not KeyboardInterrupt itself, after which Python may end with another status than ours."""


class Failed(BaseException):
    """The error of a command, its cause; not an Exception, for Hydra prints lines about those."""


def set_handlers() -> None:
    """End as after Ctrl-C at each of the signals, but for those ignored, as nohup does."""

    def interrupt(number: int, _: Any) -> None:
        received.append(number)
        raise Interrupt

    received.clear()
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, interrupt)
    fail_with_callbacks()


@functools.cache  # once a process
def prepare_process() -> None:
    """Set up garbage collection, logging and Hydra, before torch and MLflow are imported."""
    # their million objects live until the end of the process; searching them for garbage took a
    # quarter of the time of their import, and 2 s at the exit
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)
    # a run logs to its file; if there is no handler, the import of MLflow adds one that prints
    logging.getLogger().addHandler(logging.NullHandler())
    use_loader()
    fail_with_callbacks()


def fail_with_callbacks() -> None:
    """Hydra warns of a callback that fails, and goes on. Set in each process, for its callbacks,
    and for each command, as whoever calls several in one process may reset the filters."""
    warnings.filterwarnings("error", "Callback .* raised")


def program(
    name: str,
    failure: int = 1,
    sweep: bool = False,
    first: Callable[[DictConfig], None] = lambda _: None,
) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Decorate `main(cfg)` into a command that conf/NAME.yaml configures.

    A UserError, and any error in the configuration, ends it with one line on standard
    error and the exit status `failure`, which is also that of a command whose output nobody
    reads any more; a signal ends it with 128 + its number. HYDRA_FULL_ERROR=1 shows the
    traceback of every error. Hydra's -m is refused, but for a `sweep`. `first` says what the
    command will do, before classes are checked, whose imports take seconds.
    """

    def decorate(task: Callable[[DictConfig], Any]) -> Callable[[], None]:
        def checked(cfg: DictConfig) -> Any:
            from experiments.cli.checks import check  # --help need not wait for pydantic

            refuse_password(cfg)
            refuse_chdir(HydraConfig.get())
            check(cfg, name, first)
            return task(cfg)

        @functools.wraps(task)
        def job(cfg: DictConfig) -> None:
            if is_job() and sweep:
                set_handlers()
                prepare_process()  # a launcher may have started a process that did not run `main`
                return run_isolated(checked, cfg)
            try:
                if is_job():
                    raise UserError(NO_SWEEP)
                checked(cfg)
            except Exception as error:
                raise Failed from error

        def run() -> None:
            sys.argv[1:] = readable(name, sys.argv[1:])
            given = read_flags()
            modes = [each for each in given.overrides if key_of(each) == "hydra.mode"]
            if not sweep and (given.multirun or any("MULTIRUN" in mode.upper() for mode in modes)):
                raise UserError(NO_SWEEP)
            if given.config_name not in (None, name):
                raise UserError("--config-name: leave it out; each command has its own")
            if given.help:
                print(sys.modules[task.__module__].__doc__)
            with env_override({"HYDRA_FULL_ERROR": "1"}), at_end:  # raises errors, prints none
                hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(job)()

        @functools.wraps(task)
        def main() -> None:
            prepare_process()
            set_handlers()
            try:
                run()
            except KeyboardInterrupt as interrupt:
                with suppress(OSError):  # the terminal may be gone
                    print(f"interrupted{interrupt}", file=sys.stderr)
                sys.exit(128 + (received or SIGNALS)[0])
            except (Exception, Failed) as error:
                cause, unwritten = error.__cause__ or error, flush()
                unread = isinstance(cause, BrokenPipeError) and is_closed()
                if not (unread or (unwritten and isinstance(cause, OSError))):
                    print_error(error, name)
                sys.exit(failure)
            except SystemExit:
                flush()
                raise
            if flush():
                sys.exit(failure)

        return main

    return decorate


def read_flags() -> Namespace:
    """What Hydra's parser finds. OverrideParseException: there is a flag that it does not know."""
    given, unknown = get_args_parser().parse_known_args()
    for flag in (each for each in unknown if each.startswith("-")):
        raise OverrideParseException(flag, "no such flag")
    if unknown:
        raise UserError(f"put flags such as -m first: {' '.join(unknown)} stand behind one")
    return given


def flush() -> bool:
    """Write what was printed; whether that fails. It does without a word where nobody reads it any
    more, as after `| head -1`."""
    try:
        print(end="", flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            print(f"error: standard output: {error.strerror}", file=sys.stderr)
        return True
    return False


def is_closed() -> bool:
    """Whether standard output is a pipe that nobody reads any more."""
    output = select.poll()
    output.register(sys.stdout.fileno())
    return any(event & select.POLLERR for _, event in output.poll(0))


def print_error(caught: BaseException, name: str) -> None:
    """Print an error on standard error: one line, if it is one in what the user gave."""
    error = caught.__cause__ if isinstance(caught, Failed) else caught
    if isinstance(error, UserWarning):  # of a callback
        error = error.__context__ or error
    # in composing, whatever Hydra, OmegaConf or a YAML parser says is of the user's text
    explained = error is caught or isinstance(error, CONFIGURATION)
    if not explained or os.environ.get("HYDRA_FULL_ERROR") == "1":
        print(scrubbed("".join(traceback.format_exception(error))), file=sys.stderr)
    if explained:
        with started():
            line = explain(error, name, sys.argv[1:])
        print(f"error: {printable(scrubbed(line))}", file=sys.stderr)
