"""A training run in MLflow: found by what it is, fed once an epoch, closed whatever happens."""

import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import sqlalchemy
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import LoggedModel, Metric, Param, Run
from mlflow.exceptions import MlflowException
from omegaconf import DictConfig
from sqlalchemy.engine import make_url

from experiments.program import UserError, flatten, scrubbed

CONFIG_HASH = "config_hash"
STUDY = "study"  # the search, if any, that the run is a trial of
FUSED = "fused"  # the program, if any, that trained the run together with others
CONFIG, WEIGHTS = "config.yaml", "weights.pt"  # artifacts that a network is built again from
NOT_PARAMETERS = ("checkpoints.", "force", "tracking.")  # where and how, and credentials
SHOWN_AS = {  # for the UI: what its charts and columns begin with
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.experiment.primaryMetric.name": "val/acc",
}
BATCH = 1000  # metrics that MLflow takes at once
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


class TrackedRun:
    """One MLflow run, made or taken up again; a context that closes it with the right status.

    What is logged twice, as a run was cut short or a receipt was lost, is logged with
    the same time, and kept once.
    """

    def __init__(self, store: Store, name: str, tags: dict[str, Any], resume: Run | None) -> None:
        self.store, self.client = store, store.client
        self.failed = False
        tags = {key: str(value) for key, value in tags.items() if value is not None}
        if resume is None:
            run = self.client.create_run(store.experiment_id, tags=tags, run_name=name)
            self.logged_epochs = 0
        else:
            run = resume
            self.client.update_run(run.info.run_id, status="RUNNING")
            history = self.client.get_metric_history(run.info.run_id, "val/acc")
            self.logged_epochs = max((metric.step for metric in history), default=0)
        self.id, self.started = run.info.run_id, run.info.start_time

    def describe(self, cfg: DictConfig, figures: dict[str, float]) -> None:
        """Log the configuration, and figures that are known before training."""
        params = [Param(key, value) for key, value in parameters(cfg).items()]
        metrics = [Metric(name, value, self.started, 0) for name, value in figures.items()]
        self.client.log_batch(self.id, params=params, metrics=metrics)

    def log_figures(self, figures: dict[str, float], time: int) -> None:
        """Figures of the run as a whole; `time` is in milliseconds since 1970."""
        metrics = [Metric(name, value, time, 0) for name, value in figures.items()]
        self.store.patiently(self.client.log_batch, self.id, metrics=metrics)

    def log_history(self, history: list[dict[str, float]], ended: list[int]) -> None:
        """Metrics of all epochs so far; those are sent that the store has not yet.

        Args:
            ended: when each epoch ended, in milliseconds since 1970.
        """
        new = range(self.logged_epochs, len(history))
        metrics = [
            Metric(name, value, ended[i], i + 1) for i in new for name, value in history[i].items()
        ]
        for first in range(0, len(metrics), BATCH):
            self.client.log_batch(self.id, metrics=metrics[first : first + BATCH])
        self.logged_epochs = max(self.logged_epochs, len(history))

    def tag(self, name: str, value: Any) -> None:
        self.store.patiently(self.client.set_tag, self.id, name, str(value))

    def log_file(self, path: Path) -> None:
        self.client.log_artifact(self.id, str(path))

    def models(self) -> list[LoggedModel]:
        """The models that the run has logged."""
        return self.client.search_logged_models(
            [self.store.experiment_id], f"source_run_id = '{self.id}' and status = 'READY'"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: Any
    ) -> None:
        if self.failed:
            return
        if error is None:
            self.store.patiently(self.client.set_terminated, self.id, "FINISHED")
            return
        status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
        try:
            self.fail(f"{type(error).__name__}: {error}", status)
        except (MlflowException, OSError) as away:
            log.warning("%s is not in the store: %s", status, reason(away))

    def fail(self, text: str, status: str = "FAILED") -> None:
        """Close the run, with the reason as a tag."""
        self.failed = True
        self.client.set_tag(self.id, "error", scrubbed(text)[:500])
        self.client.set_terminated(self.id, status)


def parameters(cfg: DictConfig) -> dict[str, str]:
    """The whole configuration, flattened, but for places and credentials."""
    flat = flatten(cfg).items()
    return {key: str(value) for key, value in flat if not key.startswith(NOT_PARAMETERS)}


class Scrubbing(logging.Formatter):
    """Keeps passwords out of the log."""

    def format(self, record: logging.LogRecord) -> str:
        return scrubbed(super().format(record))


@contextmanager
def logged_to(path: Path, run: TrackedRun) -> Iterator[None]:
    """Write log lines, warnings and the traceback of a failure to a file; it joins the run."""
    handler = logging.FileHandler(path)
    handler.setFormatter(Scrubbing("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)
    try:
        yield
    except BaseException as error:
        log.error("%s", type(error).__name__, exc_info=not isinstance(error, KeyboardInterrupt))
        raise
    finally:
        logging.captureWarnings(False)
        root.setLevel(level)
        root.removeHandler(handler)
        handler.close()
        try:
            run.log_file(path)
        except (MlflowException, OSError) as error:
            log.warning("the log is not in the store: %s", reason(error))


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
