"""The MLflow run of a study, above the runs of its trials."""

from mlflow.entities import Param
from omegaconf import DictConfig, OmegaConf

from experiments.cli.config import flatten
from experiments.tracking.store import STUDY, Store

LOGGED = ["trials", "smallest_above", "final", "sampler", "pruner", "budget", "trainer", "seed"]


def study_run(name: str, cfg: DictConfig, store: Store) -> str:
    """The id of a study's MLflow run, which is created where there is none."""
    query = f"tags.{STUDY} = '{name}' and tags.kind = 'study'"
    found = store.client.search_runs([store.experiment_id], query)
    if found:
        return found[0].info.run_id
    tags = {STUDY: name, "kind": "study", "mlflow.source.name": "experiments.search"}
    run = store.client.create_run(store.experiment_id, tags=tags, run_name=f"search {name}")
    settings = flatten(OmegaConf.masked_copy(cfg, LOGGED))
    settings |= {f"space.{key}": values for key, values in cfg.space.items()}
    params = [Param(key, str(value)) for key, value in settings.items()]
    store.client.log_batch(run.info.run_id, params=params)
    store.client.set_terminated(run.info.run_id)  # nothing runs in it
    return run.info.run_id
