"""Workers of a local sweep that start at once: forked from a server that has done the imports."""

import os
from multiprocessing import forkserver, parent_process
from typing import Any

from hydra.experimental.callback import Callback
from joblib.externals.loky.backend.context import set_start_method
from omegaconf import DictConfig


class ForkedWorkers(Callback):
    """Makes joblib's workers share one import of torch, Lightning and MLflow: 9 s on two cores for
    any number of them, where two that import side by side take 13 s. joblib has no public way to
    set how its copy of loky starts them: JOBLIB_START_METHOD is for another backend."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        os.environ.update(config.hydra.job.env_set)  # OpenMP reads it when torch is imported
        forkserver.set_forkserver_preload(["experiments.sweep.preload"])
        set_start_method("forkserver")
        forkserver.ensure_running()

    def on_job_end(self, **_: Any) -> None:
        sweep = parent_process()
        if sweep is not None and not sweep.is_alive():
            os._exit(1)  # the sweep was killed, and nobody would receive this worker's results
