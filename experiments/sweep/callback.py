"""A sweep of runs: each job fails alone, one view shows all of them, a table ends the sweep.

Each job keeps its state in a small file, in its own folder under `hydra.sweep.dir`; the
process that started the sweep only reads these files. So it does not matter whether jobs run
in this process, in others, or on other machines that share the folder.
"""

import math
import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from experiments.cli import tables
from experiments.cli.errors import UserError, refuse_password
from experiments.cli.jobs import STATE, read_jobs
from experiments.cli.program import at_interrupt
from experiments.cli.text import duration, percent
from experiments.sweep.view import View, tally

PATIENCE = 5  # seconds that an interrupted job has to end


class Sweep(Callback):
    """Shows a sweep from its first job to its last."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # the copy in a job's process shows nothing

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        try:
            refuse_password(config)  # before Hydra writes the configuration to a file
            refuse_missing_gpu(config)
        except UserError as error:
            sys.exit(f"error: {error}")
        self.folder, self.tracking = Path(config.hydra.sweep.dir), config.tracking
        for old in self.folder.glob(f"*/{STATE}"):  # of an earlier sweep in the same folder
            old.unlink()
        given = list(config.hydra.overrides.task)
        program = f"experiments.{config.hydra.job.config_name}"
        self.command = shlex.join(["python", "-m", program, "-m", *given])
        self.view = View(self.folder, count_jobs(given))
        self.view.start()
        at_interrupt.append(self.on_interrupt)  # Hydra has no callback for Ctrl-C

    def on_multirun_end(self, **_: Any) -> None:
        self.view.stop()
        jobs = read_jobs(self.folder)
        self.show(jobs)
        if any(job["state"] == "failed" for job in jobs):
            print("to run again what failed, and nothing else:", self.command)
            sys.exit(1)

    def on_interrupt(self) -> None:
        jobs = read_jobs(self.folder)
        for job in jobs:
            if job["state"] == "running":
                job["state"] = mark_as_killed(job, self.tracking)
        self.view.stop()
        self.show(jobs)
        print("to go on where it stopped:", self.command)

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
        for report in {job["report"]: None for job in jobs if "report" in job}:
            print(report)


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
    """The number of jobs of a sweep: all combinations of the values on its command line."""
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    parsed = parser.parse_overrides(overrides)
    last = {override.get_key_element(): override for override in parsed}  # which Hydra takes
    return math.prod(
        len(list(override.sweep_iterator()))
        for override in last.values()
        if override.is_discrete_sweep()
    )


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
