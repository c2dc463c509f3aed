"""Claims on work: no two workers do the same; a claim ends with its process, however that ends."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from filelock import FileLock, Timeout

# so that PostgreSQL notices within a minute that a machine is gone
KEEPALIVE = {"tcp_keepalives_idle": 30, "tcp_keepalives_interval": 10, "tcp_keepalives_count": 3}


class Claims:
    """Claims among the processes that work on a study, on all of it or a part.

    A claim is a locked file, for processes on one machine or with a shared folder; with
    PostgreSQL, whose machines may share no folder, also an advisory lock of the database.
    The operating system and the database release both when the process ends.

    Args:
        storage: of the study: a path, or a URL.
        folder: of the locked files, `folder`/`part`/lock; its name is that of the study.
    """

    def __init__(self, storage: str, folder: Path) -> None:
        self.folder, self.connection = folder, None
        if storage.startswith("postgresql"):
            engine = sqlalchemy.create_engine(storage, isolation_level="AUTOCOMMIT")
            self.connection = engine.connect()
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
        with lock:
            if self.connection is None:
                yield True
                return
            name = hashlib.sha256(f"{self.folder.name}/{part}".encode())
            key = int.from_bytes(name.digest()[:8], signed=True)
            ours = wait or self._query(f"pg_try_advisory_lock({key})")
            if wait:
                self._query(f"pg_advisory_lock({key})")
            try:
                yield ours
            finally:
                if ours:
                    self._query(f"pg_advisory_unlock({key})")

    def check(self) -> None:
        """Raises SQLAlchemyError where the connection was lost, and all claims with it."""
        if self.connection is not None:
            self._query("1")

    def _query(self, expression: str) -> Any:
        return self.connection.exec_driver_sql(f"select {expression}").scalar()
