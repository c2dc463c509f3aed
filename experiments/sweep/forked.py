"""Workers of a local sweep that start at once: forked from a server that has made their imports."""

import os
from multiprocessing import forkserver, parent_process
from typing import Any

from hydra.experimental.callback import Callback
from joblib.externals.loky.backend.context import set_start_method
from omegaconf import DictConfig

IMPORTS = [
    "experiments.cli.program",  # first, as it sets up what all others are imported with
    "mlflow.pytorch",
    "mlflow.store.tracking.sqlalchemy_store",
    "torch._dynamo",  # which the first optimizer imports
    "experiments.training.artifacts",
    "experiments.budget.network",
    "experiments.tracking.parent_runs",
    "experiments.training.trainer",
]


class ForkedWorkers(Callback):
    """Makes joblib's workers share one import of torch, Lightning and MLflow.

    Two that import side by side on two cores take 13 s; the server takes 9, for any number.
    """

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        os.environ.update(config.hydra.job.env_set)  # OpenMP reads it when torch is imported
        forkserver.set_forkserver_preload(IMPORTS)
        set_start_method("forkserver")
        forkserver.ensure_running()

    def on_job_end(self, **_: Any) -> None:
        sweep = parent_process()
        if sweep is not None and not sweep.is_alive():
            os._exit(1)  # killed, and nobody takes what this worker would hand over
