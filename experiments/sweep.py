"""A sweep of runs: each fails alone, one view shows them all, a table ends it.

Every job of a sweep keeps a small file on how it is doing, in a folder of its own
under `hydra.sweep.dir`; the process that started the sweep only reads them. So it
works alike for jobs in this process, in others, and on other machines that share
the folder.
"""

import contextlib
import json
import shlex
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from experiments.program import UserError, at_interrupt, refuse_password, scrubbed
from experiments.verdict import duration, percent

STATE, ERROR = "job.json", "error.log"
SECONDS = 0.5  # between looks at the jobs
PATIENCE = 5  # seconds until a job that was told to stop is taken to live on
DONE = ("trained", "trained before", "searched", "failed")


def is_job() -> bool:
    """Whether this process is at work on a job of a sweep."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def announce(**facts: Any) -> None:
    """Tell the sweep how this job is doing; where there is no sweep, nobody."""
    if is_job():
        path = Path(HydraConfig.get().runtime.output_dir, STATE)
        state = json.loads(path.read_text()) if path.exists() else {}
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(state | facts))
        temporary.replace(path)  # a reader never sees half of it


def isolated(task: Callable[[DictConfig], str], cfg: DictConfig) -> None:
    """Run one job of a sweep; what it raises is kept in its folder, and the others go on.

    Args:
        task: returns its outcome, "trained" or "trained before".
    """
    config = HydraConfig.get()
    announce(name=config.job.override_dirname, state="running", started=time.time())
    try:
        announce(state=task(cfg))
    except Exception as error:
        log = Path(config.runtime.output_dir, ERROR)
        log.write_text(scrubbed(traceback.format_exc()))
        announce(state="failed", error=scrubbed(" ".join(str(error).split())), log=str(log))
    finally:
        announce(ended=time.time())


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

    from experiments.tracking import Store, reason

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


class View(threading.Thread):
    """On a terminal one bar and a line for each running job, else a line for each that ended."""

    def __init__(self, folder: Path, jobs: int) -> None:
        super().__init__(daemon=True)
        self.folder, self.jobs = folder, jobs
        self.stopped = threading.Event()
        self.started = time.time()

    def run(self) -> None:
        if sys.stderr.isatty():
            self.draw()
        else:
            self.print_ended()

    def stop(self) -> None:
        self.stopped.set()
        self.join()

    def draw(self) -> None:
        progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
            refresh_per_second=1 / SECONDS,
        )
        whole = progress.add_task("sweep", total=self.jobs, note="")
        lines: dict[str, Any] = {}
        with progress:
            while True:
                last = self.stopped.wait(SECONDS)
                jobs = read(self.folder)
                ended = [job for job in jobs if job["state"] in DONE]
                note = f"{tally(jobs)}, {self.left(jobs)} left"
                progress.update(whole, completed=len(ended), note=note)
                for job in jobs:
                    if job in ended:
                        if job["folder"] in lines:
                            progress.remove_task(lines.pop(job["folder"]))
                        continue
                    if job["folder"] not in lines:
                        lines[job["folder"]] = progress.add_task(job["name"], total=None, note="")
                    progress.update(
                        lines[job["folder"]],
                        description=job["name"],
                        completed=job.get("epoch", 0),
                        total=job.get("epochs"),
                        note=f"val {percent(job.get('val_acc'))}" if "val_acc" in job else "",
                    )
                if last:
                    return

    def print_ended(self) -> None:
        told = set()
        while True:
            last = self.stopped.wait(SECONDS)
            jobs = read(self.folder)
            for job in jobs:
                if job["state"] in DONE and job["folder"] not in told:
                    told.add(job["folder"])
                    result = job.get("error") or percent(job.get("val_acc"))
                    place = f"[{len(told)}/{self.jobs}]"
                    left = f"{self.left(jobs)} left"
                    print(place, job["name"], job["state"], result, left, file=sys.stderr)
            if last:
                return

    def left(self, jobs: list[dict[str, Any]]) -> str:
        """Time until the end, as far as the epochs that were trained tell."""
        done, known = 0.0, self.jobs
        for job in jobs:
            if job["state"] == "trained before":
                known -= 1
            elif job["state"] in DONE:
                done += 1
            else:
                done += job.get("epoch", 0) / job.get("epochs", 1)
        elapsed = time.time() - self.started
        return duration(elapsed / done * (known - done)) if done else "unknown time"


def read(folder: Path) -> list[dict[str, Any]]:
    """What the jobs of a sweep have announced, in their order."""
    jobs = []
    for path in folder.glob(f"*/{STATE}"):
        with contextlib.suppress(OSError, json.JSONDecodeError):
            jobs.append(json.loads(path.read_text()) | {"folder": path.parent.name})
    return sorted(jobs, key=lambda job: int(job["folder"]))


def tally(jobs: list[dict[str, Any]], of: int = 0) -> str:
    """How many jobs are in which state, in words.

    Args:
        of: how many there are to be, with those that have not begun.
    """
    counts = Counter(job["state"] for job in jobs)
    if of > len(jobs):
        counts["not begun"] = of - len(jobs)
    return ", ".join(f"{count} {state}" for state, count in counts.items())
