"""A training run in MLflow: found by what it is, fed once an epoch, closed whatever happens."""

import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import sqlalchemy
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunStatus
from mlflow.exceptions import MlflowException
from omegaconf import DictConfig
from sqlalchemy.engine import make_url

from experiments.program import UserError, flatten

CONFIG_HASH = "config_hash"
NOT_PARAMETERS = ("checkpoints.", "force", "tracking.")  # where and how, and credentials
PATIENCE = 5  # seconds to wait for a server's answer
log = logging.getLogger(__name__)


class Store:
    """An MLflow tracking store and the one experiment in it that we write to.

    Raises:
        UserError: the store does not answer, or is none.
    """

    def __init__(self, tracking: DictConfig) -> None:
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of each table it makes
        # a server that is away must not hold up training: what it missed is sent again later
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(PATIENCE))
        self.uri = str(tracking.uri)
        self.embedded = self.uri.startswith("sqlite:")
        try:
            with self._alone():
                self.client = MlflowClient(self.uri)
                self.experiment_id = self._experiment(tracking)
        except (MlflowException, sqlalchemy.exc.SQLAlchemyError, sqlite3.Error, OSError) as error:
            raise UserError(
                f"tracking.uri={redacted(self.uri)}: cannot be used: {reason(error)}; start it, "
                "or leave tracking.uri out to use mlruns/mlflow.db"
            ) from error
        except ModuleNotFoundError as error:
            raise UserError(
                f"tracking.uri={redacted(self.uri)}: needs the package {error.name}; install it"
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

    def _experiment(self, tracking: DictConfig) -> str:
        found = self.client.get_experiment_by_name(tracking.experiment)
        if found is not None:
            return found.experiment_id
        place = Path(tracking.artifacts).absolute().as_uri() if self.embedded else None
        try:
            return self.client.create_experiment(tracking.experiment, artifact_location=place)
        except MlflowException:  # another process was faster
            return self.client.get_experiment_by_name(tracking.experiment).experiment_id

    def find(self, config_hash: str) -> Run | None:
        """The run of this configuration: a finished one, else the latest."""
        runs = self.client.search_runs(
            [self.experiment_id], filter_string=f"tags.{CONFIG_HASH} = '{config_hash}'"
        )
        finished = (run for run in runs if run.info.status == "FINISHED")
        return next(finished, runs[0] if runs else None)

    def url(self, run_id: str) -> str:
        """Where the run is to be seen."""
        server = self.uri if self.uri.startswith("http") else "http://127.0.0.1:5000"
        return f"{server.rstrip('/')}/#/experiments/{self.experiment_id}/runs/{run_id}"


class TrackedRun:
    """One MLflow run, made or taken up again; a context that closes it with the right status.

    `metrics` are the latest values by name, of what was logged here.
    """

    def __init__(self, store: Store, name: str, tags: dict[str, Any], resume: Run | None) -> None:
        self.store, self.client = store, store.client
        self.metrics: dict[str, float] = {}
        if resume is None:
            run = self.client.create_run(store.experiment_id, tags=_strings(tags), run_name=name)
            self.id, self.logged_epochs = run.info.run_id, 0
        else:
            self.id = resume.info.run_id
            self.client.update_run(self.id, status="RUNNING")
            history = self.client.get_metric_history(self.id, "val/acc")
            self.logged_epochs = max((metric.step for metric in history), default=0)

    def log_parameters(self, cfg: DictConfig) -> None:
        """The whole configuration, flattened, but for places and credentials."""
        flat = flatten(cfg).items()
        kept = {key: value for key, value in flat if not key.startswith(NOT_PARAMETERS)}
        params = [Param(key, value) for key, value in _strings(kept).items()]
        self.client.log_batch(self.id, params=params)

    def log_figures(self, figures: dict[str, float]) -> None:
        """Figures of the run as a whole."""
        self.metrics |= figures
        now = _milliseconds()
        metrics = [Metric(name, value, now, 0) for name, value in figures.items()]
        self.client.log_batch(self.id, metrics=metrics)

    def log_history(self, history: list[dict[str, float]]) -> None:
        """Metrics of all epochs so far; those are sent that the store has not yet.

        A store that does not answer is tried again with the next epoch.
        """
        self.metrics |= history[-1]
        try:
            for epoch in range(self.logged_epochs + 1, len(history) + 1):
                now = _milliseconds()
                row = history[epoch - 1].items()
                metrics = [Metric(name, value, now, epoch) for name, value in row]
                self.client.log_batch(self.id, metrics=metrics)
                self.logged_epochs = epoch
        except MlflowException as error:
            log.warning("epoch %d is not in the store yet: %s", len(history), reason(error))

    def log_file(self, path: Path) -> None:
        self.client.log_artifact(self.id, str(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: Any
    ) -> None:
        if error is None:
            status = RunStatus.FINISHED
        elif isinstance(error, KeyboardInterrupt):
            status = RunStatus.KILLED
        else:
            status = RunStatus.FAILED
            self.client.set_tag(self.id, "error", f"{type(error).__name__}: {error}"[:500])
        self.client.set_terminated(self.id, RunStatus.to_string(status))


@contextmanager
def logged_to(path: Path, run: TrackedRun) -> Iterator[None]:
    """Write log lines, warnings and the traceback of a failure to a file; it joins the run."""
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
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
        run.log_file(path)


def redacted(uri: str) -> str:
    """A tracking URI without the password in it."""
    try:
        return make_url(uri).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return uri


def reason(error: BaseException) -> str:
    """The first line of an error, or of the database's error behind it, without credentials."""
    origin = getattr(error, "orig", None) or error
    return str(origin).splitlines()[0][:200] if str(origin) else type(origin).__name__


def _strings(values: dict[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in values.items()}


def _milliseconds() -> int:
    return int(time.time() * 1000)
