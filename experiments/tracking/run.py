"""One MLflow run: logged once an epoch, resumed, and closed with the right status."""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from mlflow import entities
from mlflow.entities import Dataset, LoggedModelStatus, Metric, Run
from mlflow.exceptions import MlflowException
from omegaconf import DictConfig

from experiments.cli.config import JUDGEMENT, LABEL, RESULT, class_name
from experiments.cli.errors import scrubbed
from experiments.cli.keys import select
from experiments.tracking.failures import reason
from experiments.tracking.store import Store

CONTEXTS = {"train": "training", "val": "validation", "test": "testing"}  # of data sets, by split

log = logging.getLogger(__name__)


class TrackedRun:
    """One MLflow run, new or resumed; as a context, it is closed with the right status.

    Metrics may be sent again: with the same time, and MLflow keeps them once.
    """

    def __init__(self, store: Store, name: str, tags: dict[str, Any], resume: Run | None) -> None:
        self.store, self.client, self.failed = store, store.client, False
        tags = {key: str(value) for key, value in tags.items() if value is not None}
        run = resume or self.client.create_run(store.experiment_id, tags=tags, run_name=name)
        self.id, self.started, self.logged_epochs = run.info.run_id, run.info.start_time, 0
        if resume:
            self._resume(resume.data.tags, tags)

    def _resume(self, before: dict[str, str], tags: dict[str, str]) -> None:
        """Go on: with the tags of now, those of its beginning beside them."""
        self.client.update_run(self.id, status="RUNNING")
        self.forget_error(before)
        changed = {key: text for key, text in tags.items() if before.get(key, text) != text}
        begun = {f"begun.{key}": before[key] for key in changed if f"begun.{key}" not in before}
        new = [entities.RunTag(key, text) for key, text in (changed | begun).items()]
        self.client.log_batch(self.id, tags=new)
        history = self.client.get_metric_history(self.id, "val/acc")
        self.logged_epochs = max((metric.step for metric in history), default=0)

    def forget_error(self, tags: dict[str, str]) -> None:
        """Remove the reason of a failure before, where the run's tags have one."""
        if "error" in tags:
            self.client.delete_tag(self.id, "error")

    def describe(self, cfg: DictConfig, metrics: dict[str, float]) -> None:
        """Log the configuration, and metrics that are known before training."""
        params = [entities.Param(key, value) for key, value in parameters(cfg).items()]
        self.client.log_batch(self.id, params=params)
        self.log_metrics(metrics, self.started)

    def use_images(self, cfg: DictConfig, digest: str) -> None:
        """Log the images as the run's data sets, which MLflow's UI shows and filters by."""
        splits = ("train", "val") if cfg.data.holdout is None else ("train", "val", "test")
        self.log_inputs({split: dataset(cfg, split, digest) for split in splits})

    def log_inputs(self, images: dict[str, Dataset], models: Sequence[str] = ()) -> None:
        """Log the images of each split, and the models, by their ids, that were used on them."""
        tags = [entities.InputTag("mlflow.data.context", CONTEXTS[split]) for split in images]
        pairs = zip(images.values(), tags, strict=True)
        data = [entities.DatasetInput(images, [tag]) for images, tag in pairs]
        used = [entities.LoggedModelInput(model) for model in models]
        for _ in data:  # MLflow fails where another run adds one of them at the same moment
            with suppress(MlflowException):
                return self.client.log_inputs(self.id, data, used)
        return self.store.patiently(self.client.log_inputs, self.id, data, used)

    def log_metrics(self, metrics: dict[str, float], time: int) -> None:
        """Log metrics of the whole run; `time` is in milliseconds since 1970."""
        batch = [Metric(name, value, time, 0) for name, value in metrics.items()]
        self.store.patiently(self.client.log_batch, self.id, metrics=batch)

    def log_history(self, history: list[dict[str, float]], ended: list[int]) -> None:
        """Send the metrics of the epochs that the store does not have yet.

        `history` and `ended`, in milliseconds since 1970, have all epochs so far.
        """
        metrics = [
            Metric(name, value, ended[i], i + 1)
            for i in range(self.logged_epochs, len(history))
            for name, value in history[i].items()
        ]
        self.client.log_batch(self.id, metrics=metrics)
        self.logged_epochs = max(self.logged_epochs, len(history))

    def tag(self, name: str, value: Any) -> None:
        self.store.patiently(self.client.set_tag, self.id, name, str(value))

    def model(self) -> entities.LoggedModel:
        """The logged model of the run: the one that it has, complete or not, else a new one."""
        experiment = self.store.experiment_id
        found = self.client.search_logged_models([experiment], f"source_run_id = '{self.id}'")
        if found:
            return max(found, key=lambda model: model.status == LoggedModelStatus.READY)
        params = self.client.get_run(self.id).data.params
        return self.client.create_logged_model(experiment, "model", self.id, params=params)

    def complete(self, model: entities.LoggedModel, epoch: int) -> None:
        """Give a model, whose files are logged, its run and its metrics, and declare it complete.
        `epoch`: that of its weights, from 1."""
        run = self.client.get_run(self.id)
        if all(output.model_id != model.model_id for output in run.outputs.model_outputs):
            self.client.log_outputs(self.id, [entities.LoggedModelOutput(model.model_id, epoch)])
        used = {tag.value: each.dataset for each in run.inputs.dataset_inputs for tag in each.tags}
        metrics = []
        for name in run.data.metrics:
            data = used.get(CONTEXTS.get(name.partition("/")[0]))
            about = (model.model_id, data.name, data.digest) if data else (model.model_id,)
            metrics += [
                Metric(name, each.value, each.timestamp, each.step, *about)
                for each in self.client.get_metric_history(self.id, name)
                if each.step in (0, epoch)  # 0: of the whole run
            ]
        self.client.log_batch(self.id, metrics=metrics)
        self.client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is None and not self.failed:
            self.store.patiently(self.client.set_terminated, self.id)
        elif not self.failed:
            status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
            try:
                self.fail(f"{type(error).__name__}: {error}", status)
            except (MlflowException, OSError) as away:
                log.warning("%s is not in the store: %s", status, reason(away))

    def fail(self, text: str, status: str = "FAILED") -> None:
        """Close the run, with the reason as a tag."""
        self.failed = True
        self.client.set_tag(self.id, "error", scrubbed(text)[:500])
        self.store.close(self.id, status)


def dataset(cfg: DictConfig, split: str, digest: str) -> Dataset:
    """The images of a split, "train", "val" or "test", as MLflow describes data."""
    held = split == "val" and cfg.data.holdout is not None
    part = cfg.data["train" if held or split == "train" else "val"]
    source = json.dumps({"uri": part._target_})
    return Dataset(f"{class_name(part)} {split}", digest, source_type="code", source=source)


def parameters(cfg: DictConfig) -> dict[str, str]:
    """The parameters of a run in MLflow: its configuration, without places and credentials."""
    values = select(cfg, RESULT, JUDGEMENT, LABEL)
    return {key: scrubbed(str(value)) for key, value in values.items()}


class ScrubbingFormatter(logging.Formatter):
    """Removes passwords from log lines and tracebacks."""

    def format(self, record: logging.LogRecord) -> str:
        return scrubbed(super().format(record))


@contextmanager
def logged_to(path: Path, run: TrackedRun) -> Iterator[None]:
    """Write log lines, warnings and the traceback of a failure to a file, and log that file."""
    handler = logging.FileHandler(path)
    handler.setFormatter(ScrubbingFormatter("%(asctime)s %(levelname)s %(message)s"))
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
            run.client.log_artifact(run.id, str(path))
        except (MlflowException, OSError) as error:
            log.warning("the log is not in the store: %s", reason(error))
