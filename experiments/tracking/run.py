"""One MLflow run: logged once an epoch, resumed, and closed with the right status."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from mlflow.entities import LoggedModel, Metric, Param, Run
from mlflow.exceptions import MlflowException
from omegaconf import DictConfig

from experiments.cli.config import flatten
from experiments.cli.errors import scrubbed
from experiments.tracking.store import Store, reason

log = logging.getLogger(__name__)


CONFIG, WEIGHTS = "config.yaml", "weights.pt"  # artifacts that a network is built again from
NOT_PARAMETERS = ("checkpoints.", "force", "tracking.")  # where and how, and credentials

BATCH = 1000  # metrics that MLflow takes at once


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
