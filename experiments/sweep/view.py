"""What a sweep shows while its jobs run."""

import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TimeRemainingColumn,
)

from experiments.cli.jobs import read_jobs
from experiments.cli.tables import Plain
from experiments.cli.text import duration, percent, printable

SECONDS = 0.5  # between two looks at the jobs
FINISHED = ("trained", "trained before", "not needed", "searched")
DONE = (*FINISHED, "failed")


class View(threading.Thread):
    """On a terminal one bar for the sweep and one for each running job; else a line for each
    job that has ended."""

    def __init__(self, folder: Path, jobs: int) -> None:
        super().__init__(daemon=True)
        self.folder, self.jobs, self.stopped = folder, jobs, threading.Event()
        self.bars = Progress(
            Plain("{task.description}"),
            BarColumn(10),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            Plain("{task.fields[note]}"),
            console=Console(stderr=True),
            disable=not sys.stderr.isatty(),
            speed_estimate_period=3600,  # seconds: most jobs take minutes
        )
        self.sweep = self.bars.add_task("sweep", total=jobs, note="")
        self.tasks: dict[int, TaskID] = {}  # by the number of a job
        self.ended: set[int] = set()

    def run(self) -> None:
        with self.bars:
            while not self.stopped.wait(SECONDS):
                self.update()
            self.update()

    def stop(self) -> None:
        self.stopped.set()
        self.join()

    def update(self) -> None:
        jobs = read_jobs(self.folder)
        # what was trained before says nothing of the time that the others take
        new = [job for job in jobs if job["state"] not in ("trained before", "not needed")]
        done = sum(map(share, new))
        total = self.jobs - len(jobs) + len(new)
        self.bars.update(self.sweep, completed=done, total=total, note=tally(jobs))
        for job in jobs:
            number, ended = job["number"], job["state"] in DONE
            if number not in self.tasks:
                self.tasks[number] = self.bars.add_task(job["name"], total=None, note="")
            self.bars.update(
                self.tasks[number],
                description=job["name"],
                completed=job.get("epoch", 0),
                total=job.get("epochs"),
                note=f"val {percent(job['val_acc'])}" if "val_acc" in job else "",
                visible=not ended,
            )
            if ended and number not in self.ended:
                self.ended.add(number)
                if self.bars.disable:
                    self.print(job)

    def print(self, job: dict[str, Any]) -> None:
        seconds = self.bars.tasks[self.sweep].time_remaining
        left = "unknown time" if seconds is None else duration(seconds)
        result = job.get("error") or percent(job.get("val_acc"))
        count = f"[{len(self.ended)}/{self.jobs}]"
        line = f"{count} {job['name']} {job['state']} {result} {left} left"
        print(printable(line), file=sys.stderr)


def share(job: dict[str, Any]) -> float:
    """How much of a job is done, 0 to 1."""
    return 1.0 if job["state"] in DONE else job.get("epoch", 0) / job.get("epochs", 1)


def tally(jobs: list[dict[str, Any]], total: int = 0) -> str:
    """How many of `total` jobs are in which state: "2 trained, 1 failed, 3 not begun"."""
    counts = Counter(job["state"] for job in jobs)
    counts["not begun"] = total - len(jobs)
    return ", ".join(f"{count} {state}" for state, count in counts.items() if count > 0)
