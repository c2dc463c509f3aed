"""An MLflow tracking store: opened or created, asked for runs, and waited for when it is away."""

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from omegaconf import DictConfig
from sqlalchemy import create_engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from experiments.cli.errors import UserError

CONFIG_HASH = "config_hash"
STUDY = "study"  # the search, if any, that the run is a trial of
FUSED = "fused"  # the program, if any, that trained the run together with others
SHOWN_AS = {  # what charts and columns of MLflow's UI begin with
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.experiment.primaryMetric.name": "val/acc",
}
ENVIRONMENT = {
    # MLflow repeats a failed HTTP request, but with one number of times for all requests: few, so
    # that training goes on while a server is away; what must arrive is sent by `Store.patiently`
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",  # seconds
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}

log = logging.getLogger(__name__)


class Store:
    """An MLflow tracking store, and the one experiment in it that we use.

    Args:
        tracking: uri, experiment, artifacts and patience, as in conf/tracking.yaml.
        create: whether to create the store and the experiment where they do not exist.

    Raises:
        UserError: the store does not answer, is not a store, or does not exist.
    """

    def __init__(self, tracking: DictConfig, create: bool = True) -> None:
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it logs each table it creates
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        self.uri, self.patience = without_login(str(tracking.uri)), tracking.patience
        self.embedded = self.uri.startswith("sqlite:")
        if not create and self.embedded and not self._file().exists():
            raise UserError(f"tracking.uri={self.uri}: there is no such store; train first")
        try:
            with self._database():
                self.client = MlflowClient(self.uri)
                self.experiment_id = self._experiment(tracking, create)
        except (MlflowException, SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise UserError(
                f"tracking.uri={self.uri}: cannot be used: {reason(error)}; start it, "
                "or leave tracking.uri out to use mlruns/mlflow.db"
            ) from error
        except ModuleNotFoundError as error:
            raise UserError(
                f"tracking.uri={self.uri}: needs the package {error.name}; install it"
            ) from error

    def _file(self) -> Path:
        return Path(make_url(self.uri).database or "")

    @contextmanager
    def _database(self) -> Iterator[None]:
        """Check that a database answers, as MLflow would retry for an hour. Processes take
        turns to create the embedded one and its experiment."""
        if self.embedded:
            path = self._file()
            path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(path.with_suffix(".lock")):
                with closing(sqlite3.connect(path)) as database:
                    database.execute("pragma journal_mode=wal")  # readers do not stop a writer
                yield
            return
        if "://" in self.uri and not self.uri.startswith(("http:", "https:", "databricks")):
            engine = create_engine(self.uri)
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
        artifacts = Path(tracking.artifacts).absolute().as_uri() if self.embedded else None
        try:
            return self.client.create_experiment(tracking.experiment, artifacts, SHOWN_AS)
        except MlflowException:
            found = self.client.get_experiment_by_name(tracking.experiment)
            if found is None:
                raise
            return found.experiment_id  # another process created it in between

    def find(self, config_hash: str, fused: str | None = None) -> Run | None:
        """The run of a configuration: a finished one, else the latest that can be resumed.

        Args:
            fused: the program that is to resume it. Programs draw different random numbers,
                so a run that is half of one and half of another would be neither.
        """
        runs = self.client.search_runs(
            [self.experiment_id], filter_string=f"tags.{CONFIG_HASH} = '{config_hash}'"
        )
        finished = [run for run in runs if run.info.status == "FINISHED"]
        resumable = [run for run in runs if run.data.tags.get(FUSED) == fused]
        return next(iter(finished + resumable), None)

    def patiently(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call the store, again and again while it does not answer.

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
        """The page of a run in MLflow's UI."""
        server = self.uri if self.uri.startswith("http") else "http://127.0.0.1:5000"
        return f"{server.rstrip('/')}/#/experiments/{self.experiment_id}/runs/{run_id}"


def search(store: Store, query: str | None) -> list[Run]:
    """All runs of the store's experiment that match a filter, the oldest first.

    Raises:
        MlflowException: the store does not answer, or does not understand the filter.
    """
    runs, token = [], None
    while token != "":
        page = store.client.search_runs(
            [store.experiment_id],
            query or "",
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        runs += page
        token = page.token or ""
    return runs


def without_login(uri: str) -> str:
    """A server's URI without name and password, which go to the environment.

    There MLflow finds them; as part of the URI it would show them now and then.
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
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise UserError(f"tracking.uri={store.uri}: failed: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """The first line of an error, or of the database's error that caused it."""
    origin = getattr(error, "orig", None) or error
    return str(origin).splitlines()[0][:200] if str(origin) else type(origin).__name__
