"""Who works on what: claims that end with the process that holds them, however it ends."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy
from filelock import FileLock, Timeout

# so that a machine that is gone is noticed within a minute
KEEPALIVE = {"tcp_keepalives_idle": 30, "tcp_keepalives_interval": 10, "tcp_keepalives_count": 3}


class Claims:
    """Claims among the processes that share a storage.

    Processes on one machine, or with a shared folder, lock files, which the operating
    system unlocks when a process ends. With PostgreSQL, which may serve machines that share
    no folder, they take advisory locks as well, which it drops with the connection.

    Args:
        storage: where the study is kept: a path, or a URL.
        root: the folder for what is locked.
    """

    def __init__(self, storage: str, root: str) -> None:
        self.root, self.connection = Path(root), None
        if storage.startswith("postgresql"):
            engine = sqlalchemy.create_engine(storage, isolation_level="AUTOCOMMIT")
            self.connection = engine.connect()
            for name, value in KEEPALIVE.items():
                self.connection.exec_driver_sql(f"set {name} = {value}")

    @contextmanager
    def take(self, name: str, wait: bool = False) -> Iterator[bool]:
        """Whether a claim is ours until the context ends; for one that is held already,
        wait, or go on without.

        The file is `root`/`name`/lock.
        """
        path = self.root / name / "lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, blocking=wait)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        try:
            ours = self._advise("pg_advisory_lock" if wait else "pg_try_advisory_lock", name)
            try:
                yield ours
            finally:
                if ours:
                    self._advise("pg_advisory_unlock", name)
        finally:
            lock.release()

    def check(self) -> None:
        """Raises SQLAlchemyError where the connection was lost, and all claims with it."""
        if self.connection is not None:
            self.connection.exec_driver_sql("select 1")

    def _advise(self, function: str, name: str) -> bool:
        if self.connection is None:
            return True
        key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True)
        answer = self.connection.exec_driver_sql(f"select {function}({key})").scalar()
        return answer is not False  # pg_advisory_lock returns nothing
