"""An MLflow tracking store: opened or created, asked for runs, and waited for when it is away."""

import json
import logging
import os
import re
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from hydra.core.hydra_config import HydraConfig
from mlflow import MlflowClient
from mlflow.entities import LifecycleStage, Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.db.db_types import DATABASE_ENGINES, SQLITE
from mlflow.utils import get_results_from_paginated_fn
from omegaconf import DictConfig
from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from experiments.cli.errors import UserError, scrubbed
from experiments.cli.keys import key_of
from experiments.tracking.failures import advised, reason
from experiments.tracking.filters import invalid
from experiments.tracking.sqlite import embedded

PARENT = "mlflow.parentRunId"  # a tag
STUDY, STUDY_ID = "study", "study.id"  # the search, if any, that the run is a trial of
FUSED = "fused"  # a name for the runs that were trained together, if any
EVALUATED = "evaluated"  # the run, if any, whose network this run scores on other images
SHOWN_AS = {  # what charts and columns of MLflow's UI begin with
    "mlflow.experimentKind": "custom_model_development",
    "mlflow.experiment.primaryMetric.name": "val/acc",
}
METRICS = [f"metrics.`{name}`" for name in ("parameters", "val/acc_mean", "test/acc_mean", "seeds")]
COLUMNS = {"tags.`changed`": 220} | dict.fromkeys(METRICS, 90)  # and their widths in pixels
COLUMNS |= {"tags.`verdict`": 380, "attributes.`Dataset`": 220}
VIEW = {  # of MLflow's UI: a row for each arm
    "searchFilter": "metrics.seeds > 0",
    "orderByKey": METRICS[1],
    "orderByAsc": False,
    "selectedColumns": [*COLUMNS],
    "columnOrder": [*COLUMNS],
    "columnWidths": COLUMNS,
}
ENVIRONMENT = {
    # MLflow repeats a failed HTTP request, but with one number of times for all requests: few, so
    # that training goes on while a server is away; what must arrive is sent by `Store.patiently`
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",  # seconds
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
BEGUN_AS = "begun.as"  # the name that an experiment had at first
SHOWN_AT, PORT = "ui.port", 5000  # where the UI showed an experiment last; the usual port
# codes of errors that waiting does not help
PERMANENT = ("INVALID_PARAMETER_VALUE", "INVALID_STATE", "RESOURCE_DOES_NOT_EXIST")

log = logging.getLogger(__name__)


class Store:
    """The MLflow tracking store of conf/tracking.yaml, and the one experiment in it that we use.

    Where they do not exist they are created, or with `create=False` refused. UserError: the store
    does not answer, is not a store, or does not exist.
    """

    def __init__(self, tracking: DictConfig, create: bool = True) -> None:
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it logs each table it creates
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        self.uri, self.patience = without_login(str(tracking.uri)), tracking.patience  # seconds
        kind = urlsplit(self.uri).scheme.partition("+")[0]
        artifacts = Path(tracking.artifacts).absolute() if kind == SQLITE else None
        if kind in ("", "file") and not self.uri.startswith("databricks"):
            path = unquote(urlsplit(self.uri).path)
            database = path if path.endswith(".db") else f"{path}/mlflow.db"
            meant = (
                f"http://{path}" if re.fullmatch(r"[\w.-]+:\d+", path) else f"sqlite:///{database}"
            )
            raise UserError(f"tracking.uri={self.uri}: is no address of a store; write {meant}")
        with self.errors(), ExitStack() as stack:
            if kind == SQLITE:
                stack.enter_context(embedded(self.uri, artifacts, create))
            if kind in DATABASE_ENGINES:  # check that it answers: MLflow would retry for an hour
                engine = create_engine(self.uri)
                with engine.connect() as database:
                    if kind == SQLITE:  # readers do not stop a writer
                        database.exec_driver_sql("pragma journal_mode=wal")
                engine.dispose()
            self.client = MlflowClient(self.uri)
            self.experiment_id = self._experiment(tracking.experiment, artifacts, create)

    def _experiment(self, name: str, artifacts: Path | None, create: bool) -> str:
        client, self.port = self.client, PORT
        if (found := client.get_experiment_by_name(name)) is None:
            others = client.search_experiments()
            # one with this very name was created by another process in between
            for each in (each for each in others if each.tags.get(BEGUN_AS) == name != each.name):
                raise UserError(
                    f"tracking.experiment={name} has been renamed: tracking.experiment="
                    f"'{each.name}' goes on in it; another name begins anew"
                )
            if not create:
                known = ", ".join(sorted(each.name for each in others))
                raise UserError(f"tracking.experiment={name} is not in {self.uri}; there: {known}")
            place = artifacts and artifacts.as_uri()
            try:
                return client.create_experiment(name, place, SHOWN_AS | {BEGUN_AS: name})
            except MlflowException:
                found = client.get_experiment_by_name(name)
                if found is None:
                    raise
        if found.lifecycle_stage == LifecycleStage.DELETED:
            raise UserError(
                f"tracking.experiment={name} was deleted; give another one, or restore it: "
                f"MLFLOW_TRACKING_URI={shlex.quote(scrubbed(self.uri))} mlflow experiments restore "
                f"--experiment-id {found.experiment_id}"
            )
        port = found.tags.get(SHOWN_AT, "")
        self.port = int(port) if port.isdecimal() else PORT
        if create and BEGUN_AS not in found.tags:  # made by others, or before there was this tag
            client.set_experiment_tag(found.experiment_id, BEGUN_AS, name)
        return found.experiment_id

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn the failures of this store into a UserError."""
        try:
            yield
        except (MlflowException, SQLAlchemyError, OSError, ModuleNotFoundError) as error:
            raise UserError(f"tracking.uri={self.uri}: cannot be used: {advised(error)}") from error

    def search(
        self, query: str | None, view: int = ViewType.ACTIVE_ONLY, where: str | None = None
    ) -> list[Run]:
        """All runs that match a filter, and that of where=, if any, the oldest first. UserError:
        what the user gave is not a valid filter."""
        asked = [self.experiment_id], " and ".join(filter(None, (query, where))), view
        oldest = "attributes.start_time ASC"
        try:
            return get_results_from_paginated_fn(
                lambda count, token: self.client.search_runs(*asked, count, [oldest], token),
                max_results_per_page=1000,
            )
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            given = ("where", where) if where else ("filter", query)
            raise UserError(invalid(*given, error.message)) from error

    def matching(self, tags: dict[str, str], view: int = ViewType.ACTIVE_ONLY) -> list[Run]:
        """All runs with some tags, the oldest first."""
        query = " and ".join(f"tags.`{key}` = '{text}'" for key, text in tags.items())
        return self.search(query, view)

    def matching_or_restored(self, tags: dict[str, str]) -> list[Run]:
        """All runs with some tags; if all of them were deleted, the oldest is restored."""
        if not (found := self.matching(tags)):
            found = self.matching(tags, ViewType.DELETED_ONLY)[:1]
            for run in found:
                self.client.restore_run(run.info.run_id)
        return found

    def close(self, run_id: str | None, status: str) -> None:
        """End a run that has not finished, unless one below it runs; then, likewise, its parent."""
        running = "attributes.status = 'RUNNING'"
        if not self.search(f"tags.`{PARENT}` = '{run_id}' and {running}"):
            for run in self.search(f"attributes.run_id = '{run_id}' and {running}"):
                self.client.set_terminated(run_id, status)
                self.close(run.data.tags.get(PARENT), status)

    def patiently(self, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call the store until it answers; its error is raised after `patience` seconds, or at
        once if waiting does not help."""
        deadline = time.monotonic() + self.patience
        while True:
            try:
                return call(*arguments, **options)
            except (MlflowException, OSError) as error:
                permanent = getattr(error, "error_code", None) in PERMANENT
                if permanent or time.monotonic() > deadline:
                    raise
                log.warning("the store does not answer: %s", reason(error))
                time.sleep(1)

    def url(self, run_id: str) -> str:
        """The page of a run in MLflow's UI; with "", that of all runs."""
        is_server = self.uri.startswith("http")
        server = scrubbed(self.uri) if is_server else f"http://127.0.0.1:{self.port}"
        return f"{server.rstrip('/')}/#/experiments/{self.experiment_id}/runs/{run_id}".rstrip("/")

    def how_to_open(self, run_id: str) -> str:
        """How to open a run: its page, and what shows it, where that is not a server."""
        given = HydraConfig.get().overrides.task if HydraConfig.initialized() else ()
        options = {"STORE": self.uri} if "tracking.uri" in map(key_of, given) else {}
        options |= {"PORT": str(self.port)} if self.port != PORT else {}
        words = "".join(f" {key}={shlex.quote(scrubbed(text))}" for key, text in options.items())
        begin = "" if self.uri.startswith("http") else f"make ui{words}, then "
        return begin + self.url(run_id)

    def share_view(self, port: int) -> str:
        """Keep VIEW in the experiment, as MLflow's UI itself does, and the port, for the links of
        later runs; its page."""
        self.port = port
        for tag, text in {
            "mlflow.sharedViewState.arms": json.dumps(VIEW),
            SHOWN_AT: str(port),
        }.items():
            self.client.set_experiment_tag(self.experiment_id, tag, text)
        return f"{self.url('')}?viewStateShareKey=arms"


def without_login(uri: str) -> str:
    """A server's URI without login, which goes to the environment: MLflow may print its URI."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or parts.password is None:
        return uri
    os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username or "")
    os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
