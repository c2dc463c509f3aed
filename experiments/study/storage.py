"""Where studies are kept: a database by its URL, or a journal by the path of its file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from sqlalchemy.engine import make_url

from experiments.cli.errors import UserError
from experiments.tracking.store import reason


def open_storage(storage: str) -> BaseStorage:
    """Open a storage, or make it; by one process at a time."""
    if "://" not in storage:
        return JournalStorage(journal(Path(storage)))
    if not storage.startswith("sqlite:"):
        return RDBStorage(storage, engine_kwargs={"pool_pre_ping": True})
    Path(make_url(storage).database or "").parent.mkdir(parents=True, exist_ok=True)
    return RDBStorage(storage, engine_kwargs={"connect_args": {"timeout": 60}})


def journal(path: Path) -> JournalFileBackend:
    """The journal in a file, without the half of a line that a power cut may have left at its
    end: with it, Optuna could read no further."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalFileSymlinkLock(str(path))
    backend = JournalFileBackend(str(path), lock)
    lock.acquire()
    try:
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            with path.open("r+b") as file:
                file.truncate(content.rfind(b"\n") + 1)
    finally:
        lock.release()
    return backend


@contextmanager
def explained(storage: str) -> Iterator[None]:
    """Turn what can go wrong with a storage into one line."""
    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError) as error:
        cause = error.__cause__ or error
        raise UserError(
            f"storage={storage}: failed: {reason(cause)}; the same command goes on from there"
        ) from error
    except ImportError as error:
        missing = getattr(error.__cause__ or error, "name", None) or "of its database"
        raise UserError(f"storage={storage}: needs the package {missing}; install it") from error
