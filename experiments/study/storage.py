"""Where a study is stored: a database given by its URL, or a journal given by its path."""

from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from pathlib import Path

import sqlalchemy
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy.engine import make_url

from experiments.cli.errors import UserError
from experiments.tracking.store import advised, reason


def open_storage(storage: str) -> BaseStorage:
    """Open a storage, or create it; only one process at a time may do this.

    Raises:
        UserError: it is another program's, another version's or damaged.
    """
    try:
        opened = _open(storage)
        opened.get_all_studies()
    except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError, JSONDecodeError, ImportError):
        raise  # see `explained`
    except Exception as error:  # Optuna reads what is there without a check
        raise UserError(
            f"storage={storage}: is not a storage of this Optuna, or is damaged "
            f"({type(error).__name__}: {reason(error)}); move it away, or name another"
        ) from error
    return opened


def _open(storage: str) -> BaseStorage:
    if "://" not in storage:
        Path(storage).parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(storage))
    if not storage.startswith("sqlite:"):
        return RDBStorage(storage, engine_kwargs={"pool_pre_ping": True})
    Path(make_url(storage).database or "").parent.mkdir(parents=True, exist_ok=True)
    return RDBStorage(storage, engine_kwargs={"connect_args": {"timeout": 60}})


@contextmanager
def explained(storage: str) -> Iterator[None]:
    """Turn the failures of a storage into a UserError."""
    try:
        yield
    except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError) as error:
        cause = error.__cause__ or error
        raise UserError(
            f"storage={storage}: failed: {advised(cause)}; the same command goes on from there"
        ) from error
    except JSONDecodeError as error:  # a power cut may leave half a line in a journal
        raise UserError(
            f"storage={storage}: a line of this journal cannot be read; delete the line that "
            f"starts with {error.doc[:60]!r}, and give the same command again"
        ) from error
    except ImportError as error:
        missing = getattr(error.__cause__ or error, "name", None) or "of its database"
        raise UserError(f"storage={storage}: needs the package {missing}; install it") from error
