"""The model of a run: one, whatever was interrupted, found by its figures."""

import itertools
import os
import random
import signal

import pytest
import warm
from conftest import ONE_THREAD, PROJECT, configure, quick
from mlflow.entities import LoggedModelStatus

from experiments.tracking.run import TrackedRun
from experiments.tracking.store import Store


class Cut:
    """A client that is interrupted at one of its calls."""

    def __init__(self, client, calls: int) -> None:
        self.client, self.calls = client, calls

    def __getattr__(self, name: str):
        if not self.calls:
            raise KeyboardInterrupt
        self.calls -= 1
        return getattr(self.client, name)


def assert_one_model(client, run_id: str) -> None:
    """The run is finished, and has one complete model, with its figures."""
    run = client.get_run(run_id)
    experiments = [run.info.experiment_id]
    models = client.search_logged_models(experiments, f"source_run_id = '{run_id}'")
    assert [model.status for model in models] == [LoggedModelStatus.READY]
    assert [output.model_id for output in run.outputs.model_outputs] == [models[0].model_id]
    assert run.info.status == "FINISHED"
    accuracy = run.data.metrics["val/acc"]
    query = f"metrics.`val/acc` > {accuracy - 1e-6} AND source_run_id = '{run_id}'"
    assert [found.model_id for found in client.search_logged_models(experiments, query)] == [
        models[0].model_id
    ]
    figures = {metric.key: metric.value for metric in models[0].metrics}
    assert (figures["val/acc"], figures["parameters"]) == (accuracy, 5854)
    assert len(figures) == len(models[0].metrics)  # each once
    steps = [metric.step for metric in client.get_metric_history(run_id, "val/acc")]
    assert sorted(steps) == sorted(set(steps))


def test_a_run_that_is_interrupted_at_any_call_has_one_model(workplace, tmp_path):
    store = Store(configure("train", *workplace.places[:2]).tracking)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "MLmodel").write_text("a model")
    for calls in range(100):
        run = TrackedRun(store, "run", {}, resume=None)
        run.log_metrics({"parameters": 5854, "epochs": 2}, time=1)
        run.log_history([{"val/acc": 0.5}, {"val/acc": 0.75}], [1, 2])
        for client in (Cut(store.client, calls), store.client):
            run.client = client
            try:
                model = run.model()
                run.client.log_model_artifacts(model.model_id, str(tmp_path / "model"))
                run.complete(model, 2)
            except KeyboardInterrupt:
                continue
            break
        store.client.set_terminated(run.id)
        assert_one_model(store.client, run.id)
        if client is not store.client:  # none of its calls was cut off
            break
    assert calls > 5


@pytest.mark.slow
def test_twenty_interruptions_after_the_last_epoch_leave_one_model_each(workplace, small):
    command = quick(small, "tracking.model=true", "trainer.max_epochs=1")
    assert workplace.run("train", *command).returncode == 0
    [run] = workplace.seeds()
    [last] = workplace.client.get_metric_history(run.info.run_id, "val/acc")
    takes = (run.info.end_time - last.timestamp) / 1000
    before = []
    for seed in itertools.count(1):
        folder = workplace.folder / f"checkpoints/{seed}"
        settings = [*command, f"seed={seed}", *workplace.places, f"checkpoints.root={folder}"]
        arguments = ["train", str(folder), str(random.uniform(0, takes)), *settings]
        result = warm.run("tests.killed", arguments, PROJECT, os.environ | ONE_THREAD)
        [killed] = [run for run in workplace.seeds() if run.data.params["seed"] == str(seed)]
        if result.returncode == -signal.SIGKILL:
            before.append(killed.info.status)
            assert workplace.run("train", *settings).returncode == 0
        assert_one_model(workplace.client, killed.info.run_id)
        if len(before) == 20:
            break
    assert "RUNNING" in before
    assert len(workplace.seeds()) == seed + 1
