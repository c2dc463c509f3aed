"""A sweep of runs: each job fails alone, one view shows all of them, a table ends the sweep.

Each job keeps its state in a small file under `hydra.sweep.dir`; the process that started the
sweep only reads these files. So it does not matter whether jobs run in this process, in others,
or on other machines that share the folder. A job without such a file did not finish.
"""

import shlex
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from experiments.cli import tables
from experiments.cli.errors import UserError, refuse_password
from experiments.cli.jobs import STATE, read_jobs
from experiments.cli.program import at_end
from experiments.cli.text import duration, percent
from experiments.sweep.view import FINISHED, View, tally

PATIENCE = 5  # seconds that an interrupted job has to end


class Sweep(Callback):
    """Shows a sweep from its first job to its last, and fails where one of them did not finish."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # the copy in a job's process shows nothing

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        if config.hydra.job.chdir:
            raise UserError(
                "hydra.job.chdir=true would make a store in each job's folder; leave it"
            )
        refuse_password(config)  # before Hydra writes the configuration to a file
        refuse_missing_gpu(config)
        self.folder, self.tracking = Path(config.hydra.sweep.dir).absolute(), config.tracking
        for old in self.folder.glob(f"*/{STATE}"):  # of an earlier sweep in the same folder
            old.unlink()
        given = list(config.hydra.overrides.task)
        program = f"experiments.{config.hydra.job.config_name}"
        rest = [one for one in config.hydra.overrides.hydra if not one.startswith("hydra.mode=")]
        self.command = shlex.join(["python", "-m", program, "-m", *given, *rest])
        own = config.hydra.sweeper.get("params") or {}
        self.view = View(self.folder, count_jobs([*(f"{key}={own[key]}" for key in own), *given]))
        self.view.start()
        # not on_multirun_end, of which Hydra tells nobody after an error or Ctrl-C
        at_end.push(self.end)

    def end(self, kind: type[BaseException] | None, *_: Any) -> None:
        """Show what became of each job. Exits with 1 unless all finished, or `kind` is raised."""
        self.view.stop()
        jobs = read_jobs(self.folder)
        for job in jobs:
            if job["state"] == "running":
                job["state"] = mark_as_killed(job, self.tracking)
        failed = self.view.jobs - sum(job["state"] in FINISHED for job in jobs)
        with suppress(OSError):  # the terminal may be gone
            if jobs:
                self.show(jobs)
            if kind and issubclass(kind, KeyboardInterrupt):
                print("to go on where it stopped:", self.command)
            elif jobs and failed:
                print("to run again what failed, and nothing else:", self.command)
        if failed and kind is None:
            sys.exit(1)

    def show(self, jobs: list[dict[str, Any]]) -> None:
        rows = []
        for job in jobs:
            seconds = job.get("ended", time.time()) - job["started"]
            accuracy = percent(job.get("val_acc"))
            rows.append((job["name"], job["state"], accuracy, duration(seconds)))
        tables.show(("run", "", "accuracy", "time"), rows)
        print(tally(jobs, self.view.jobs))
        for job in jobs:
            if job["state"] == "failed":
                print(f"{job['name']}: {job['error']} (traceback: {job['log']})")
        if reports := [job for job in jobs if "report" in job]:  # of now, not of before
            print(max(reports, key=lambda job: job.get("ended", 0))["report"])


def refuse_missing_gpu(config: DictConfig) -> None:
    """Raises UserError: this machine's Ray would wait without end for a GPU that is not there."""
    ray = OmegaConf.select(config, "hydra.launcher.ray")
    if not ray or not ray.remote.num_gpus or ray.init.get("address") or ray.init.get("num_gpus"):
        return
    if shutil.which("nvidia-smi") is None:  # comes with the driver; PyTorch would take seconds
        raise UserError(
            f"each run is to have {ray.remote.num_gpus} of a GPU, but there is no nvidia-smi here, "
            "so no GPU: launcher=local takes the cores; if there is one, say so by "
            "+hydra.launcher.ray.init.num_gpus=1"
        )


def count_jobs(overrides: list[str]) -> int:
    """The number of jobs that Hydra makes of a command line."""
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    [jobs] = BasicSweeper.split_arguments(parser.parse_overrides(overrides), None)
    return len(jobs)


def mark_as_killed(job: dict[str, Any], tracking: DictConfig) -> str:
    """Mark the runs of an interrupted job as killed, unless it still runs; return its state."""
    if not job.get("runs"):
        return "interrupted"
    # not at the top: every sweep would import MLflow before its first job starts
    from mlflow.exceptions import MlflowException

    from experiments.tracking.store import Store, reason

    try:
        with FileLock(Path(job["checkpoints"], "lock"), timeout=PATIENCE):
            client = Store(tracking).client
            for run in job["runs"]:
                if client.get_run(run).info.status == "RUNNING":
                    client.set_terminated(run, "KILLED")
    except Timeout:
        return "still running"
    except (UserError, MlflowException, OSError) as error:
        print(f"{job['name']}: its runs could not be marked as killed: {reason(error)}")
    return "interrupted"
