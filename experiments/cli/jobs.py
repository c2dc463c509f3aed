"""The state of one job of a sweep: a small file in the job's folder, which the sweep reads."""

import json
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from experiments.cli.errors import UserError, one_line, scrubbed
from experiments.cli.files import write

STATE, ERROR = "job.json", "error.log"


def refuse_chdir(hydra: DictConfig) -> None:
    """Raise UserError where Hydra is to run a command in a folder of its own."""
    if hydra.job.chdir:
        raise UserError("hydra.job.chdir=true would make a store for each run; leave it out")


def is_job() -> bool:
    """Whether this process works on a job of a sweep."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def folder_of_job() -> Path:
    """Where a job keeps its state; its number decides, whatever folder it is given to work in."""
    config = HydraConfig.get()
    return Path(config.runtime.cwd, config.sweep.dir, str(config.job.num))


def announce(**facts: Any) -> None:
    """Add facts to the state of this job; does nothing outside a sweep."""
    if is_job():
        path = folder_of_job() / STATE
        state = json.loads(path.read_text()) if path.exists() else {}
        write(path, json.dumps(state | facts))


def run_isolated(task: Callable[[DictConfig], str], cfg: DictConfig) -> None:
    """Run one job of a sweep; if it fails, its folder gets the traceback and the others go on.
    `task` returns the state that the job ends in, such as "trained"."""
    job = HydraConfig.get().job
    announce(number=job.num, name=job.override_dirname, state="starting", started=time.time())
    try:
        announce(state=task(cfg))
    except Exception as error:
        log = folder_of_job() / ERROR
        write(log, scrubbed(traceback.format_exc()))
        announce(state="failed", error=scrubbed(one_line(error)), log=str(log))
    finally:
        announce(ended=time.time())


def read_jobs(folder: Path) -> list[dict[str, Any]]:
    """The states of the jobs of a sweep, in the order of their numbers."""
    jobs = []
    for path in folder.glob(f"*/{STATE}"):
        with suppress(OSError, json.JSONDecodeError):
            jobs.append(json.loads(path.read_text()))
    return sorted(jobs, key=lambda job: job["number"])
