"""A sweep of runs: each job fails alone, one view shows all of them, a table ends the sweep.

Each job keeps its state in a small file under `hydra.sweep.dir`; the process that started the
sweep only reads these files. So it does not matter whether jobs run in this process, in others,
or on other machines that share the folder. A job without such a file did not finish.
"""

import math
import os
import shlex
import shutil
import sys
import threading
import time
from collections import Counter, defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from experiments.cli import tables
from experiments.cli.compose import swept
from experiments.cli.errors import UserError, refuse_password
from experiments.cli.jobs import STATE, read_jobs, refuse_chdir
from experiments.cli.program import at_end
from experiments.cli.text import duration, percent, pluralize, printable

PATIENCE = 5  # seconds that an interrupted job has to end
SECONDS = 0.5  # between two looks at the jobs
SHORT = 80  # characters of an error beside the bars
GPUS = ("ray.remote.num_gpus", "gres", "gpus_per_node", "gpus_per_task")  # keys of launchers
AT_ONCE = ("trained before", "not needed")  # states of jobs that had nothing to do
FINISHED = (*AT_ONCE, "trained", "searched")
ENDED = (*FINISHED, "failed")


class Sweep(Callback):
    """Shows a sweep from its first job to its last, and fails where one of them did not finish."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # the copy in a job's process shows nothing

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        hydra = config.hydra
        refuse_chdir(hydra)
        refuse_password(config)  # before Hydra writes the configuration to a file
        refuse_missing_gpu(config)
        self.folder, self.tracking = Path(hydra.sweep.dir).absolute(), config.tracking
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            at_end.enter_context(FileLock(self.folder / ".lock", blocking=False))
        except Timeout:
            text = "another sweep works in this folder; wait for it, or name another one"
            raise UserError(f"hydra.sweep.dir={self.folder}: {text}") from None
        for old in self.folder.glob(f"*/{STATE}"):  # of an earlier sweep in the same folder
            old.unlink()
        program = f"experiments.{hydra.job.config_name}"
        self.command = shlex.join(["python", "-m", program, *sys.argv[1:]])
        own = [f"{key}={value}" for key, value in (hydra.sweeper.get("params") or {}).items()]
        self.view = View(self.folder, count_jobs([*own, *hydra.overrides.task]))
        self.view.start()
        # not on_multirun_end, of which Hydra tells nobody after an error or Ctrl-C
        at_end.push(self.end)

    def end(self, kind: type[BaseException] | None, *_: Any) -> None:
        """Show what became of each job. Exits with 1 unless all finished, or `kind` is raised."""
        self.view.stopped.set()
        self.view.join()
        jobs = read_jobs(self.folder)
        for job in jobs:
            if job["state"] not in ENDED:
                job["state"] = mark_as_killed(job, self.tracking)
        failed = self.view.jobs - sum(job["state"] in FINISHED for job in jobs)
        with suppress(OSError):  # the terminal may be gone
            if jobs:
                print_jobs(jobs, self.view.jobs)
            if kind and issubclass(kind, KeyboardInterrupt):
                tables.say(f"to resume it: {self.command}")
            elif jobs and failed:
                tables.say(f"to run again what failed, and nothing else: {self.command}")
        if failed and kind is None:
            sys.exit(1)


class View(threading.Thread):
    """On a terminal one bar for the sweep and one for each running job, and a line for each that
    failed; else a line for each job that has ended."""

    def __init__(self, folder: Path, jobs: int) -> None:
        super().__init__(daemon=True)
        self.folder, self.jobs, self.stopped = folder, jobs, threading.Event()
        hidden = not sys.stderr.isatty()
        # the speed is averaged over an hour: most jobs take minutes
        self.bars = tables.bars(disable=hidden, speed_estimate_period=3600)
        self.sweep = self.bars.add_task("sweep", total=jobs, note="starting")
        self.tasks = defaultdict(lambda: self.bars.add_task("starting", total=None, note=""))
        self.ended: set[int] = set()  # numbers of jobs
        self.expected = False  # whether it has been told how long they take

    def run(self) -> None:
        if self.bars.disable:
            print("starting", pluralize(self.jobs, "job"), file=sys.stderr)
        self.stopped.wait(SECONDS)  # others print first, such as the plan of a search
        with self.bars:
            while not self.stopped.wait(SECONDS):
                self.update()
            self.update()

    def update(self) -> None:
        jobs = read_jobs(self.folder)
        if not self.expected and (told := [job["expected"] for job in jobs if "expected" in job]):
            self.expected = True
            print(told[0], file=sys.stderr)
        # what had nothing to do says nothing of the time that the others take
        new = [job for job in jobs if job["state"] not in AT_ONCE]
        # of a worker's many runs, the batches of one say little
        share = {job["number"]: job.get("race", job.get("done")) for job in jobs}
        done = sum(job["state"] in ENDED or share[job["number"]] or 0 for job in new)
        total = self.jobs - len(jobs) + len(new)
        name, note = f"sweep {int(done)}/{total}", tally(jobs) or "starting"
        self.bars.update(self.sweep, description=name, completed=done, total=total, note=note)
        for job in jobs:
            ended = job["state"] in ENDED
            self.bars.update(
                self.tasks[job["number"]],
                description="starting" if job["state"] == "starting" else job["name"],
                completed=share[job["number"]] or 0,
                total=None if share[job["number"]] is None else 1,
                note=job.get("note", ""),
                visible=not ended,
            )
            if ended and job["number"] not in self.ended:
                self.ended.add(job["number"])
                if self.bars.disable or job["state"] == "failed":
                    self.print(job)  # above the bars

    def print(self, job: dict[str, Any]) -> None:
        seconds = self.bars.tasks[self.sweep].time_remaining
        left = "" if seconds is None else f" ({duration(seconds)} left)"
        error = job.get("error", "")
        if len(error) > SHORT:  # it stands whole at the end
            error = f"{error[: SHORT - 4]} ..."
        result = error or percent(job.get("val_acc"))
        line = f"[{len(self.ended)}/{self.jobs}] {job['name']} {job['state']} {result}{left}"
        print(printable(line), file=sys.stderr)


def tally(jobs: list[dict[str, Any]], total: int = 0) -> str:
    """How many of `total` jobs are in which state: "2 trained, 1 failed, 3 not started"."""
    counts = Counter(job["state"] for job in jobs)
    counts["not started"] = total - len(jobs)
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count > 0)


def print_jobs(jobs: list[dict[str, Any]], total: int) -> None:
    """Print a table of the jobs, why some were slow or failed, and the last report of a job."""
    rows = []
    for job in jobs:
        seconds = job.get("ended", time.time()) - job["started"]
        accuracy, verdict = percent(job.get("val_acc")), job.get("verdict", "")
        rows.append((job["name"], job["state"], accuracy, verdict, duration(seconds)))
    tables.show(("run", "", "accuracy", "target", "time"), rows, lesser=("time",))
    print(tally(jobs, total))
    for text, count in Counter(each for job in jobs for each in job.get("backend", ())).items():
        tables.say(f"{pluralize(count, 'job')}: {text}")
    for job in jobs:
        if job["state"] == "failed":
            log = min(job["log"], os.path.relpath(job["log"]), key=len)
            tables.say(f"{job['name']} (traceback: {log}): {job['error']}")
    if reports := [job for job in jobs if "report" in job]:  # of now, not of before
        tables.print_report(max(reports, key=lambda job: job.get("ended", 0))["report"])


def refuse_missing_gpu(config: DictConfig) -> None:
    """Raises UserError: runs are given a GPU that they would not use, or that this machine's Ray
    would wait for without end, as it is not there."""
    launcher, accelerator = config.hydra.launcher, config.trainer.accelerator
    given = {key: OmegaConf.select(launcher, key) for key in GPUS}
    asked = [f"hydra.launcher.{key}={n}" for key, n in given.items() if n and "gpu" in f"{key}{n}"]
    if asked and accelerator in ("auto", "cpu"):
        raise UserError(
            f"{asked[0]} gives each run a GPU, but trainer.accelerator={accelerator} may take the "
            "CPU: add trainer.accelerator=gpu"
        )
    ray = launcher.get("ray")  # one that the sweep starts itself, which counts the GPUs
    its_own = ray and not (ray.init.get("address") or ray.init.get("num_gpus"))
    # nvidia-smi comes with the driver; to ask PyTorch would take seconds
    if asked and its_own and shutil.which("nvidia-smi") is None:
        raise UserError(
            f"{asked[0]}, but there is no nvidia-smi here, so no GPU: launcher=local takes the "
            "cores; if there is one, say so by +hydra.launcher.ray.init.num_gpus=1"
        )


def count_jobs(overrides: list[str]) -> int:
    """The number of jobs that Hydra makes of a command line."""
    return math.prod(map(len, swept(overrides).values()))


def mark_as_killed(job: dict[str, Any], tracking: DictConfig) -> str:
    """Mark the runs of an interrupted job as killed, unless it still runs; return its state."""
    if not job.get("runs"):
        return "interrupted"
    # not at the top: every sweep would import MLflow before its first job starts
    from mlflow.exceptions import MlflowException

    from experiments.tracking.failures import reason
    from experiments.tracking.store import Store

    try:
        with FileLock(Path(job["checkpoints"], "lock"), timeout=PATIENCE):
            store = Store(tracking)
            for run in job["runs"]:
                store.close(run, "KILLED")
    except Timeout:
        return "still running"
    except (UserError, MlflowException, OSError) as error:
        print(f"{job['name']}: its runs could not be marked as killed: {reason(error)}")
    return "interrupted"
