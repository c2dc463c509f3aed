"""One job of a sweep: whether this process is one, and how it reports its state."""

import contextlib
import json
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from experiments.cli.errors import scrubbed

STATE, ERROR = "job.json", "error.log"


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


def read(folder: Path) -> list[dict[str, Any]]:
    """What the jobs of a sweep have announced, in their order."""
    jobs = []
    for path in folder.glob(f"*/{STATE}"):
        with contextlib.suppress(OSError, json.JSONDecodeError):
            jobs.append(json.loads(path.read_text()) | {"folder": path.parent.name})
    return sorted(jobs, key=lambda job: int(job["folder"]))
