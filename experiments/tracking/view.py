"""The view of an experiment that MLflow's UI opens with: a row for each arm."""

import json

from omegaconf import DictConfig

from experiments.tracking.store import Store

KEY = "arms"
VIEW = {
    "searchFilter": "metrics.seeds > 0",
    "orderByKey": "metrics.`val/acc_mean`",
    "orderByAsc": False,
    "selectedColumns": [
        "metrics.`parameters`",
        "metrics.`seeds`",
        "metrics.`val/acc_mean`",
        "metrics.`test/acc_mean`",
        "tags.`verdict`",
    ],
}


def share(tracking: DictConfig, port: int) -> tuple[str, str]:
    """Keep the view in the experiment, as the UI itself does; the store's URI and the view's."""
    store = Store(tracking)
    tag = f"mlflow.sharedViewState.{KEY}"
    store.client.set_experiment_tag(store.experiment_id, tag, json.dumps(VIEW))
    return store.uri, f"{store.url('', port)}?viewStateShareKey={KEY}"
