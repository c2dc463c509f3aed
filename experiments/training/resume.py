"""The folders of runs: locked while a process trains, searched for a run to resume, cleaned."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from experiments.cli.errors import UserError
from experiments.cli.jobs import is_job
from experiments.tracking.identity import CONFIG_HASH, DIGEST
from experiments.tracking.store import Store, advised

LOG = "train.log"
BEGUN = "run-{}"  # a file beside a checkpoint, named after the folder of the run that it is of


@contextmanager
def locked(folders: Iterable[Path]) -> Iterator[None]:
    """Hold the folders of runs, so that no other process trains the same ones.

    A job of a sweep waits for what is left of the sweep before.
    """
    with ExitStack() as locks:
        for folder in sorted(folders):  # in one order, so that two sweeps cannot block each other
            folder.mkdir(parents=True, exist_ok=True)
            locks.enter_context(FileLock(folder / "lock", blocking=is_job()))
        yield


def find_run(store: Store, tags: dict[str, str], folder: Path, program: Path) -> Run | None:
    """The finished run of an identity, else the one to resume from the checkpoint in `program`.

    A run that another machine or another program began is not resumed: its epochs would be half
    from one training and half from another.

    Args:
        folder: of the run; the same as `program`, but for runs that are trained together.
    """
    begun = program / BEGUN.format(folder.name)
    here = begun.read_text() if begun.exists() else ""
    runs = store.matching({key: tags[key] for key in (CONFIG_HASH, DIGEST)})
    finished = [run for run in runs if run.info.status == "FINISHED"]
    resumable = [run for run in runs if here == run.info.run_id]
    return next(reversed(resumable + finished), None)


def start_anew(folder: Path) -> None:
    """Remove the checkpoints and the log of earlier runs."""
    for path in (*folder.glob("*.ckpt*"), *folder.glob(LOG)):
        path.unlink()


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """Turn what can go wrong with a lock, a store or a disk into a UserError."""
    try:
        yield
    except Timeout:
        raise UserError(f"this very run is being trained by another process, in {folder}") from None
    except MlflowException as error:
        raise UserError(
            f"the tracking store failed: {advised(error)}; the run's checkpoints and log are in "
            f"{folder}; once that is cured, the same command goes on from there"
        ) from error
    except OSError as error:
        raise UserError(f"{error.filename or folder}: {advised(error)}") from error
