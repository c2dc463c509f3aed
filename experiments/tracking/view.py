"""The view of an experiment that MLflow's UI opens with: a row for each arm."""

import json

from omegaconf import DictConfig

from experiments.tracking.store import Store

KEY, VERDICT = "arms", "tags.`verdict`"
METRICS = [f"metrics.`{name}`" for name in ("parameters", "val/acc_mean", "test/acc_mean", "seeds")]
VIEW = {
    "searchFilter": "metrics.seeds > 0",
    "orderByKey": METRICS[1],
    "orderByAsc": False,
    "selectedColumns": [*METRICS, VERDICT],
    "columnOrder": [*METRICS, VERDICT],
    "columnWidths": dict.fromkeys(METRICS, 90) | {VERDICT: 440},  # in pixels
}


def share(tracking: DictConfig, port: int) -> tuple[str, str]:
    """Keep the view in the experiment, as the UI itself does; the store's URI and the view's."""
    store = Store(tracking, create=False)
    tag = f"mlflow.sharedViewState.{KEY}"
    store.client.set_experiment_tag(store.experiment_id, tag, json.dumps(VIEW))
    return store.uri, f"{store.url('', port)}?viewStateShareKey={KEY}"
