"""A sweep of runs: each fails alone, one view shows them all, a table ends it.

Every job of a sweep keeps a small file on how it is doing, in a folder of its own
under `hydra.sweep.dir`; the process that started the sweep only reads them. So it
works alike for jobs in this process, in others, and on other machines that share
the folder.
"""

import shlex
import sys
import time
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from experiments.cli.errors import UserError, refuse_password
from experiments.cli.jobs import STATE, read
from experiments.cli.program import at_interrupt
from experiments.cli.text import duration, percent
from experiments.sweep.view import View, tally

PATIENCE = 5  # seconds until a job that was told to stop is taken to live on


class Sweep(Callback):
    """Shows a sweep from its first job to its last."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # a job's process gets a copy, and has nothing to show

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        try:
            refuse_password(config)  # before Hydra writes the configuration down
        except UserError as error:
            sys.exit(f"error: {error}")
        self.folder = Path(config.hydra.sweep.dir)
        for old in self.folder.glob(f"*/{STATE}"):  # where a sweep was told to use the folder again
            old.unlink()
        program = f"experiments.{config.hydra.job.config_name}"
        self.command = ["python", "-m", program, "-m", *config.hydra.overrides.task]
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        overrides = parser.parse_overrides(list(config.hydra.overrides.task))
        jobs = sum(map(len, BasicSweeper.split_arguments(overrides, None)))
        self.view = View(self.folder, jobs)
        self.view.start()
        self.tracking = config.tracking
        at_interrupt.append(self.on_interrupt)  # Hydra tells a callback of no Ctrl-C

    def on_multirun_end(self, **_: Any) -> None:
        self.view.stop()
        jobs = read(self.folder)
        self.show(jobs)
        if any(job["state"] == "failed" for job in jobs):
            print("to run again what failed, and nothing else:", shlex.join(self.command))
            sys.exit(1)

    def on_interrupt(self) -> None:
        self.view.stop()
        jobs = read(self.folder)
        for job in jobs:
            if job["state"] == "running":
                job["state"] = "interrupted"
                if job.get("runs"):  # else it had made none yet
                    close(job, self.tracking)
        self.show(jobs)
        print("to go on where it stopped:", shlex.join(self.command))

    def show(self, jobs: list[dict[str, Any]]) -> None:
        table = Table(box=None, padding=(0, 2, 0, 0))
        for column in ("run", "", "accuracy", "time"):
            table.add_column(column)
        for job in jobs:
            seconds = job.get("ended", time.time()) - job["started"]
            accuracy = percent(job.get("val_acc"))
            table.add_row(job["name"], job["state"], accuracy, duration(seconds))
        Console(highlight=False).print(table)
        print(tally(jobs, of=self.view.jobs))
        for job in jobs:
            if job["state"] == "failed":
                print(f"{job['name']}: {job['error']} (traceback: {job['log']})")
        for report in {job["report"]: None for job in jobs if "report" in job}:
            print(report)


def close(job: dict[str, Any], tracking: DictConfig) -> None:
    """Mark the runs of an interrupted job as killed, unless the job lives on elsewhere."""
    from filelock import FileLock, Timeout
    from mlflow.exceptions import MlflowException

    from experiments.tracking.store import Store, reason

    try:
        with FileLock(Path(job["checkpoints"], "lock"), timeout=PATIENCE):
            client = Store(tracking).client
            for run in job["runs"]:
                if client.get_run(run).info.status == "RUNNING":
                    client.set_terminated(run, "KILLED")
    except Timeout:
        job["state"] = "running still"
    except (UserError, MlflowException, OSError) as error:
        print(f"{job['name']}: its runs could not be marked as killed: {reason(error)}")
