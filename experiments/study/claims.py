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
    """Claims among the processes that share a storage.

    A claim is a locked file, for processes on one machine or with a shared folder; with
    PostgreSQL, whose machines may share no folder, also an advisory lock of the database.
    The operating system and the database release both when the process ends.

    Args:
        storage: of the study: a path, or a URL.
        root: the folder of the locked files, `root`/`name`/lock.
    """

    def __init__(self, storage: str, root: str) -> None:
        self.root, self.connection = Path(root), None
        if storage.startswith("postgresql"):
            engine = sqlalchemy.create_engine(storage, isolation_level="AUTOCOMMIT")
            self.connection = engine.connect()
            for name, value in KEEPALIVE.items():
                self._execute(f"set {name} = {value}")

    @contextmanager
    def take(self, name: str, wait: bool = False) -> Iterator[bool]:
        """Hold a claim until the context ends.

        Yields whether it is ours: False where another process holds it and `wait` is False.
        """
        path = self.root / name / "lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock(path).acquire(blocking=wait)
        except Timeout:
            yield False
            return
        with lock, self._advisory_lock(name, wait) as ours:
            yield ours

    def check(self) -> None:
        """Raises SQLAlchemyError where the connection was lost, and all claims with it."""
        if self.connection is not None:
            self._execute("select 1")

    @contextmanager
    def _advisory_lock(self, name: str, wait: bool) -> Iterator[bool]:
        if self.connection is None:
            yield True
            return
        key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
        if wait:
            self._execute(f"select pg_advisory_lock({key})")
        elif not self._execute(f"select pg_try_advisory_lock({key})"):
            yield False
            return
        try:
            yield True
        finally:
            self._execute(f"select pg_advisory_unlock({key})")

    def _execute(self, statement: str) -> Any:
        result = self.connection.exec_driver_sql(statement)
        return result.scalar() if result.returns_rows else None
