"""A tracking store in a file of SQLite: created completely or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock
from mlflow.store.db.db_types import SQLITE
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import URL, make_url

from experiments.cli.errors import UserError


@contextmanager
def embedded(uri: str, artifacts: Path, create: bool) -> Iterator[None]:
    """The SQLite store, which is created completely or not at all; processes take turns here.
    UserError: there is none, or runs could not write to the folder of artifacts."""
    database = make_url(uri).database
    path = Path(database or "")
    if not create and not path.exists():
        raise UserError(f"tracking.uri={uri}: there is no such store; train first")
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if create:
            try:
                artifacts.mkdir(parents=True, exist_ok=True)
                if not os.access(artifacts, os.W_OK):
                    raise PermissionError("permission denied")
            except OSError as error:
                what = f"cannot be written: {error.strerror or error}"
                raise UserError(f"tracking.artifacts={artifacts}: {what}") from error
        if database and (not path.exists() or not path.stat().st_size):
            prefix = f".{path.name}-"
            for old in path.parent.glob(f"{prefix}*"):  # of a process that was killed
                shutil.rmtree(old, ignore_errors=True)
            with TemporaryDirectory("", prefix, path.parent, ignore_cleanup_errors=True) as folder:
                aside = Path(folder, path.name).absolute()
                new = URL.create(SQLITE, database=str(aside)).render_as_string()
                SqlAlchemyStore(new, artifacts.as_uri()).engine.dispose()
                aside.replace(path)
        yield
