"""A training run in MLflow: found by what it is, fed once an epoch, closed whatever happens."""

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import sqlalchemy
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from omegaconf import DictConfig
from sqlalchemy.engine import make_url

from experiments.cli.errors import UserError

CONFIG_HASH = "config_hash"
STUDY = "study"  # the search, if any, that the run is a trial of
FUSED = "fused"  # the program, if any, that trained the run together with others
PAGE = 1000  # runs that MLflow returns at once
SHOWN_AS = {  # for the UI: what its charts and columns begin with
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.experiment.primaryMetric.name": "val/acc",
}

ANSWER = 15  # seconds to wait for a server's answer
log = logging.getLogger(__name__)


class Store:
    """An MLflow tracking store and the one experiment in it that we write to.

    Args:
        create: whether they are made where there are none; else that is an error.

    Raises:
        UserError: the store does not answer, or is none.
    """

    def __init__(self, tracking: DictConfig, create: bool = True) -> None:
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of each table it makes
        # a server that is away must not hold up training: what it missed is sent again later
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(ANSWER))
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        self.uri, self.patience = without_login(str(tracking.uri)), tracking.patience
        self.embedded = self.uri.startswith("sqlite:")
        if not create and self.embedded and not Path(make_url(self.uri).database or "").exists():
            raise UserError(f"tracking.uri={self.uri}: there is no such store; train first")
        try:
            with self._alone():
                self.client = MlflowClient(self.uri)
                self.experiment_id = self._experiment(tracking, create)
        except (MlflowException, sqlalchemy.exc.SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise UserError(
                f"tracking.uri={self.uri}: cannot be used: {reason(error)}; start it, "
                "or leave tracking.uri out to use mlruns/mlflow.db"
            ) from error
        except ModuleNotFoundError as error:
            raise UserError(
                f"tracking.uri={self.uri}: needs the package {error.name}; install it"
            ) from error

    @contextmanager
    def _alone(self):
        """Check that a database answers, as MLflow would go on asking for an hour; one
        process at a time makes the embedded one, and the experiment in it."""
        if "://" not in self.uri or self.uri.startswith(("http:", "https:", "databricks")):
            yield
        elif self.embedded:
            path = Path(make_url(self.uri).database or "")
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock")):
                with sqlite3.connect(path) as database:
                    database.execute("pragma journal_mode=wal")  # readers do not stop a writer
                yield
        else:
            engine = sqlalchemy.create_engine(self.uri)
            engine.connect().close()
            engine.dispose()
            yield

    def _experiment(self, tracking: DictConfig, create: bool) -> str:
        found = self.client.get_experiment_by_name(tracking.experiment)
        if found is not None:
            return found.experiment_id
        if not create:
            known = ", ".join(sorted(each.name for each in self.client.search_experiments()))
            raise UserError(
                f"tracking.experiment={tracking.experiment} is not in {self.uri}; there: {known}"
            )
        place = Path(tracking.artifacts).absolute().as_uri() if self.embedded else None
        try:
            return self.client.create_experiment(tracking.experiment, place, SHOWN_AS)
        except MlflowException:
            found = self.client.get_experiment_by_name(tracking.experiment)
            if found is None:
                raise
            return found.experiment_id  # another process was faster

    def find(self, config_hash: str, fused: str | None = None) -> Run | None:
        """The run of this configuration: a finished one, else the latest that can go on.

        Args:
            fused: the program that it is to go on in. Another draws other random
                numbers, so that half a run of each would be a run of neither.
        """
        runs = self.client.search_runs(
            [self.experiment_id], filter_string=f"tags.{CONFIG_HASH} = '{config_hash}'"
        )
        finished = [run for run in runs if run.info.status == "FINISHED"]
        alike = [run for run in runs if run.data.tags.get(FUSED) == fused]
        return next(iter(finished + alike), None)

    def patiently(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Make a call to the store, again and again while the store does not answer.

        Raises:
            MlflowException, OSError: it has not answered for `tracking.patience` seconds.
        """
        deadline = time.monotonic() + self.patience
        while True:
            try:
                return call(*arguments, **options)
            except (MlflowException, OSError) as error:
                if time.monotonic() > deadline:
                    raise
                log.warning("the store does not answer: %s", reason(error))
                time.sleep(1)

    def url(self, run_id: str) -> str:
        """Where the run is to be seen."""
        server = self.uri if self.uri.startswith("http") else "http://127.0.0.1:5000"
        return f"{server.rstrip('/')}/#/experiments/{self.experiment_id}/runs/{run_id}"


def without_login(uri: str) -> str:
    """A server's URI with the name and password in it moved to where MLflow looks for them.

    There they are sent along, and nowhere else: MLflow shows the URI now and then.
    """
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or parts.password is None:
        return uri
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username or "")
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


@contextmanager
def answered(store: Store) -> Iterator[None]:
    """Turn a store that fails while it is read into a UserError."""
    try:
        yield
    except (MlflowException, sqlalchemy.exc.SQLAlchemyError, OSError) as error:
        raise UserError(f"tracking.uri={store.uri}: failed: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """The first line of an error, or of the database's error behind it."""
    origin = getattr(error, "orig", None) or error
    return str(origin).splitlines()[0][:200] if str(origin) else type(origin).__name__


def search(store: Store, query: str | None) -> list[Run]:
    """All runs of the store's experiment that a filter lets through, the oldest first.

    Raises:
        MlflowException: the store does not answer, or does not understand the filter.
    """
    runs, token = [], None
    while token != "":
        page = store.client.search_runs(
            [store.experiment_id],
            query or "",
            max_results=PAGE,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        runs += page
        token = page.token or ""
    return runs
