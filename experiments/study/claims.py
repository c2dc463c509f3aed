"""Claims on work: no two workers do the same; a claim ends with its process, however that ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy import ColumnElement, create_engine, func, select

# so that PostgreSQL notices within a minute that a machine is gone
KEEPALIVE = {"tcp_keepalives_idle": 30, "tcp_keepalives_interval": 10, "tcp_keepalives_count": 3}


class Claims:
    """Claims among the processes that work on a study, on all of it or a part.

    A claim is a locked file, `folder`/`part`/lock, for processes on one machine or with a shared
    folder; where the study is stored in PostgreSQL, whose machines may share no folder, also an
    advisory lock of the database, by the name of the folder. The operating system and the database
    release both when the process ends.
    """

    def __init__(self, storage: str, folder: Path) -> None:
        self.folder, self.connection = folder, None
        if storage.startswith("postgresql"):
            self.connection = create_engine(storage, isolation_level="AUTOCOMMIT").connect()
            for name, value in KEEPALIVE.items():
                self.connection.exec_driver_sql(f"set {name} = {value}")

    @contextmanager
    def take(self, part: str = "", wait: bool = False) -> Iterator[bool]:
        """Hold a claim until the context ends; without a part, on the study as a whole.

        Yields whether it is ours: False where another process holds it and `wait` is False.
        """
        path = self.folder / part / "lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock(path).acquire(blocking=wait)
        except Timeout:
            yield False
            return
        key = func.hashtextextended(f"{self.folder.name}/{part}", 0)
        with lock:
            ask = func.pg_advisory_lock if wait else func.pg_try_advisory_lock
            ours = self._ask(ask(key)) is not False
            try:
                yield ours
            finally:
                if ours:
                    self._ask(func.pg_advisory_unlock(key))

    def check(self) -> None:
        """Raises SQLAlchemyError where the connection was lost, and all claims with it."""
        self._ask(func.now())

    def _ask(self, function: ColumnElement) -> Any:
        """The answer of the database; None where there is none."""
        return None if self.connection is None else self.connection.scalar(select(function))
