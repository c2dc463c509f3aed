"""What a sweep shows while its jobs run."""

import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from experiments.cli.jobs import read
from experiments.cli.text import duration, percent

SECONDS = 0.5  # between looks at the jobs
DONE = ("trained", "trained before", "searched", "failed")


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


def tally(jobs: list[dict[str, Any]], of: int = 0) -> str:
    """How many jobs are in which state, in words.

    Args:
        of: how many there are to be, with those that have not begun.
    """
    counts = Counter(job["state"] for job in jobs)
    if of > len(jobs):
        counts["not begun"] = of - len(jobs)
    return ", ".join(f"{count} {state}" for state, count in counts.items())
