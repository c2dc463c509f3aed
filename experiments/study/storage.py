"""Where a study is stored, in a database (a URL) or a journal (a path), and what it keeps to."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from pathlib import Path

import sqlalchemy
from omegaconf import DictConfig
from optuna import Study
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend

from experiments.cli.errors import UserError
from experiments.cli.keys import select
from experiments.cli.kinds import JUDGEMENT, RESULT
from experiments.study.space import Space
from experiments.tracking.store import advised, reason

SETTINGS, ID, FINALISTS = "settings", "id", "finalists"  # attributes of a study
LARGER = ("trials", "full")  # what a resumed study may have more of
NOT_KEPT = (*LARGER, "space", "sampler", "step", "experiment")  # the space by its distributions


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
    file = storage if "://" not in storage else None
    if storage.startswith("sqlite:"):
        file, waits = sqlalchemy.make_url(storage).database, {"connect_args": {"timeout": 60}}
    else:
        waits = {"pool_pre_ping": True}
    Path(file or "").parent.mkdir(parents=True, exist_ok=True)
    if "://" not in storage:
        return JournalStorage(JournalFileBackend(storage))
    return RDBStorage(storage, engine_kwargs=waits)


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


def begin_or_resume(study: Study, cfg: DictConfig, space: Space, digest: str) -> str:
    """Begin a new study with the configuration's own values as its first trial.

    Returns:
        Its id, by which MLflow's runs and checkpoints are told from those of another study of
        its name.

    Raises:
        UserError: it was begun before, with another space, data, schedule or budget; or has all
            its finalists, so that more networks or full runs would change nothing.
    """
    kept = select(cfg, RESULT, JUDGEMENT)
    settings = {k: v for k, v in kept.items() if k.partition(".")[0] not in NOT_KEPT}
    settings |= {f"space.{key}": repr(one) for key, one in space.distributions.items()}
    settings = json.loads(json.dumps(settings | {"images": digest}))  # as they are given back
    elsewhere = "give the new one a name of its own, study=NAME"
    before = study.user_attrs.get(SETTINGS)
    if before is None:
        if space.start:
            study.enqueue_trial(space.start, skip_if_exists=True)
        study.set_user_attr(ID, uuid.uuid4().hex[:12])
        before = settings | {key: cfg[key] for key in LARGER}
    for key in sorted((before.keys() | settings.keys()) - {*LARGER}):
        if before.get(key) != settings.get(key):
            raise UserError(
                f"the study {study.study_name} was begun with {key}={before.get(key)}, which is "
                f"now {settings.get(key)}: {elsewhere}"
            )
    places = cfg.final.networks - len(study.user_attrs.get(FINALISTS, ()))
    for key in LARGER:
        if cfg[key] > before[key] and cfg.final.networks and not places:
            raise UserError(
                f"the study {study.study_name} has all its finalists, which {key}={cfg[key]}, "
                f"before {before[key]}, can no longer change: {elsewhere}"
            )
        settings[key] = max(cfg[key], before[key])
    study.set_user_attr(SETTINGS, settings)
    return study.user_attrs[ID]
