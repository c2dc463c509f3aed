"""What a sweep shows while its jobs run."""

import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from experiments.cli.jobs import read_jobs
from experiments.cli.text import duration, percent

SECONDS = 0.5  # between two looks at the jobs
DONE = ("trained", "trained before", "searched", "failed")


class View(threading.Thread):
    """On a terminal one bar for the sweep and one for each running job; else a line for each
    job that has ended."""

    def __init__(self, folder: Path, jobs: int) -> None:
        super().__init__(daemon=True)
        self.folder, self.jobs = folder, jobs
        self.stopped = threading.Event()
        self.started = time.time()
        self.bars: dict[str, TaskID] = {}  # by the folder of a job
        self.printed: set[str] = set()

    def run(self) -> None:
        on_terminal = sys.stderr.isatty()
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=Console(stderr=True),
            refresh_per_second=1 / SECONDS,
            disable=not on_terminal,
        ) as progress:
            sweep = progress.add_task("sweep", total=self.jobs, note="")
            last = False
            while not last:
                last = self.stopped.wait(SECONDS)
                jobs = read_jobs(self.folder)
                if on_terminal:
                    self.draw(progress, sweep, jobs)
                else:
                    self.print_ended(jobs)

    def stop(self) -> None:
        self.stopped.set()
        self.join()

    def draw(self, progress: Progress, sweep: TaskID, jobs: list[dict[str, Any]]) -> None:
        done = sum(job["state"] in DONE for job in jobs)
        note = f"{tally(jobs)}, {self.time_left(jobs)} left"
        progress.update(sweep, completed=done, note=note)
        for job in jobs:
            if job["folder"] not in self.bars:
                self.bars[job["folder"]] = progress.add_task(job["name"], total=None, note="")
            progress.update(
                self.bars[job["folder"]],
                description=job["name"],
                completed=job.get("epoch", 0),
                total=job.get("epochs"),
                note=f"val {percent(job['val_acc'])}" if "val_acc" in job else "",
                visible=job["state"] not in DONE,
            )

    def print_ended(self, jobs: list[dict[str, Any]]) -> None:
        for job in jobs:
            if job["state"] in DONE and job["folder"] not in self.printed:
                self.printed.add(job["folder"])
                count = f"[{len(self.printed)}/{self.jobs}]"
                result = job.get("error") or percent(job.get("val_acc"))
                left = f"{self.time_left(jobs)} left"
                print(count, job["name"], job["state"], result, left, file=sys.stderr)

    def time_left(self, jobs: list[dict[str, Any]]) -> str:
        """Time until the end, estimated from the epochs trained so far."""
        done, total = 0.0, self.jobs
        for job in jobs:
            if job["state"] == "trained before":
                total -= 1
            elif job["state"] in DONE:
                done += 1
            else:
                done += job.get("epoch", 0) / job.get("epochs", 1)
        elapsed = time.time() - self.started
        return duration(elapsed / done * (total - done)) if done else "unknown time"


def tally(jobs: list[dict[str, Any]], total: int = 0) -> str:
    """How many jobs are in which state: "2 trained, 1 failed".

    Args:
        total: the number of jobs, with those that have not begun.
    """
    counts = Counter(job["state"] for job in jobs)
    if total > len(jobs):
        counts["not begun"] = total - len(jobs)
    return ", ".join(f"{count} {state}" for state, count in counts.items())
