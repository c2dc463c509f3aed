"""What the workers of a study share: where it is stored, what it keeps to, and claims on work."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from pathlib import Path
from typing import Any

import sqlalchemy
from filelock import FileLock, Timeout
from omegaconf import DictConfig
from optuna import Study
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import ColumnElement, create_engine, func

from experiments.cli.config import JUDGEMENT, RESULT
from experiments.cli.errors import UserError
from experiments.cli.keys import select
from experiments.study.space import Space
from experiments.tracking.failures import advised, reason

SETTINGS, ID, FINALISTS = "settings", "id", "finalists"  # attributes of a study
LARGER = ("trials", "full")  # what a resumed study may have more of
NOT_KEPT = (*LARGER, "space", "sampler", "step", "experiment")  # the space by its distributions
# so that PostgreSQL notices within a minute that a machine is gone
KEEPALIVE = {"tcp_keepalives_idle": 30, "tcp_keepalives_interval": 10, "tcp_keepalives_count": 3}


def open_storage(storage: str) -> BaseStorage:
    """Open a storage, or create it; only one process at a time may do this. UserError: it is
    another program's, another version's or damaged."""
    sqlite, journal = storage.startswith("sqlite:"), "://" not in storage
    try:
        if sqlite or journal:
            path = storage if journal else sqlalchemy.make_url(storage).database or ""
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        if journal:
            opened = JournalStorage(Journal(storage))
        else:
            waits = {"connect_args": {"timeout": 60}} if sqlite else {"pool_pre_ping": True}
            opened = RDBStorage(storage, engine_kwargs=waits)
        opened.get_all_studies()
    except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError, JSONDecodeError, ImportError):
        raise  # see `storage_errors`
    except Exception as error:  # Optuna reads what is there without a check
        raise UserError(
            f"storage={storage}: was not written by this version of Optuna, or is damaged "
            f"({type(error).__name__}: {reason(error)}); move it away, or name another"
        ) from error
    return opened


class Journal(JournalFileBackend):
    """A file; errors of its disk name it."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        try:
            super().append_logs(logs)
        except OSError as error:
            error.filename = error.filename or self.path
            raise


@contextmanager
def storage_errors(storage: str) -> Iterator[None]:
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


def begin_or_resume(study: Study, cfg: DictConfig, space: Space, digest: str) -> str:
    """Begin a new study with the configuration's own values as its first trial. Returns its id, by
    which MLflow's runs and checkpoints are told from those of another study of its name. UserError:
    it was begun before, with another space, data, schedule or budget; or has all its finalists, so
    that more networks or full runs would change nothing."""
    kept = select(cfg, RESULT, JUDGEMENT)
    settings = {k: v for k, v in kept.items() if k.partition(".")[0] not in NOT_KEPT}
    settings |= {f"space.{key}": repr(one) for key, one in space.distributions.items()}
    settings = json.loads(json.dumps(settings | {"images": digest}))  # as they are given back
    name, advice = study.study_name, "give the new one a name of its own, study=NAME"
    if (before := study.user_attrs.get(SETTINGS)) is None:
        if ID not in study.user_attrs:  # else it was killed while it was begun
            if study.get_trials(deepcopy=False):
                raise UserError(f"the study {name} is another program's: {advice}")
            study.set_user_attr(ID, uuid.uuid4().hex[:12])
        if space.start:
            study.enqueue_trial(space.start, skip_if_exists=True)
        before = settings | {key: cfg[key] for key in LARGER}
    for key in sorted((before.keys() | settings.keys()) - {*LARGER}):
        if before.get(key) != settings.get(key):
            raise UserError(
                f"the study {name} was begun with {key}={before.get(key)}, which is now "
                f"{settings.get(key)}: {advice}"
            )
    complete = 0 < cfg.final.networks == len(study.user_attrs.get(FINALISTS, ()))
    for key in LARGER:
        if complete and cfg[key] > before[key]:
            raise UserError(
                f"the study {name} has all its finalists, which {key}={cfg[key]}, before "
                f"{before[key]}, can no longer change: {advice}"
            )
        settings[key] = max(cfg[key], before[key])
    study.set_user_attr(SETTINGS, settings)
    return study.user_attrs[ID]


class Claims:
    """Claims on all of a study or a part: no two workers do the same.

    A claim is a locked file, `folder`/`part`/lock, for processes on one machine or with a shared
    folder; with PostgreSQL, whose machines may share no folder, also an advisory lock of the
    database. Both are released when the process ends, however that ends."""

    def __init__(self, storage: str, folder: Path) -> None:
        self.folder, self.connection = folder, None
        if storage.startswith("postgresql"):
            self.connection = create_engine(storage, isolation_level="AUTOCOMMIT").connect()
            for name, value in KEEPALIVE.items():
                self.connection.exec_driver_sql(f"set {name} = {value}")

    @contextmanager
    def take(self, part: str = "", wait: bool = False) -> Iterator[bool]:
        """Hold a claim until the context ends; without a part, on the study as a whole. Yields
        whether it is ours: False where another process holds it and `wait` is False."""
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
        if self.connection is None:
            return None
        return self.connection.scalar(sqlalchemy.select(function))
