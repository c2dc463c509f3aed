"""One epoch of step 13 on the whole of real MNIST, once for all these tests."""

import json
import re
import subprocess
import sys

import mlflow
import numpy as np
import pytest
import torch
from conftest import EPOCH_METRICS, MNIST, PROJECT, Workplace
from mlflow.entities import Run
from omegaconf import OmegaConf

from experiments.data.idx import IDXFolder


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> tuple[Workplace, subprocess.CompletedProcess]:
    workplace = Workplace(tmp_path_factory.mktemp("epoch"))
    result = workplace.run("train", "step=s13", "trainer.max_epochs=1")
    assert result.returncode == 0, result.stderr
    return workplace, result


@pytest.fixture(scope="module")
def run(trained) -> Run:
    [run] = trained[0].seeds()
    return run


@pytest.fixture(scope="module")
def artifacts(trained, run, tmp_path_factory):
    trained[0].client.download_artifacts(
        run.info.run_id, "", folder := tmp_path_factory.mktemp("artifacts")
    )
    return folder


def test_it_learns(run):
    assert run.info.status == "FINISHED"
    assert run.data.metrics["val/acc"] >= 0.975


def test_it_ends_with_a_verdict_and_nothing_else(trained, run):
    workplace, result = trained
    begun = "step 13, seed 0, trainer.max_epochs=1: 1 epoch on MNIST\nnetwork: 5,854 parameters\n"
    assert result.stderr == begun, "and no progress bar, outside a terminal"
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    accuracy = f"{run.data.metrics['val/acc'] * 100:.2f} %"
    assert lines[0].startswith("step 13, seed 0, trainer.max_epochs=1: trained in ")
    assert "parameters 5,854 within 6,000 5,854" in lines
    assert any(
        line.startswith(f"accuracy, epoch 1 (last) {accuracy} misses 99.40 %") for line in lines
    )
    look = f"to look at it: make ui STORE={workplace.uri}, then http://127.0.0.1:5000/#/experiments"
    assert any(line.startswith(look) and line.endswith(run.info.run_id) for line in lines)


def test_it_is_found_by_what_it_is(trained, run):
    workplace, _ = trained
    found = workplace.client.search_runs(
        [run.info.experiment_id],
        "params.step = 's13' and params.seed = '0' and metrics.`val/acc` > 0.9 "
        "and metrics.parameters < 6000 and params.`model.widths` = '[10, 10, 12, 12, 12]'",
    )
    assert [r.info.run_id for r in found] == [run.info.run_id]
    assert run.info.run_name == "step 13, seed 0, trainer.max_epochs=1"


def test_its_metrics_are_kept(trained, run):
    metrics = run.data.metrics
    for name in EPOCH_METRICS:
        assert [step for step, _ in trained[0].history(run.info.run_id, name)] == [1]
    assert metrics["lr"] == 0.019
    assert (metrics["parameters"], metrics["receptive_field"]) == (5854, 40)
    assert metrics["mult_adds"] == 1_283_976
    assert (metrics["val/best_acc"], metrics["val/best_epoch"]) == (metrics["val/acc"], 1)
    assert 0 < metrics["train_seconds"] == metrics["epoch_seconds"]


def test_its_provenance_is_kept(run):
    tags = run.data.tags
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=PROJECT, text=True)
    assert tags["mlflow.source.git.commit"] == head.strip()
    assert tags["device"] in ("cpu", "cuda", "mps")
    assert tags["version.torch"] == torch.__version__.split("+")[0]
    assert len(tags["config_hash"]) == len(tags["data.digest"]) == 12
    assert tags["mlflow.note.content"]


def test_its_parameters_hold_no_places_and_no_credentials(run):
    assert run.data.params["optimizer.lr"] == "0.019"
    assert run.data.params["published.last_val_acc"] == "0.9935"
    assert not any(name.startswith(("tracking", "checkpoints")) for name in run.data.params)


def test_its_artifacts_are_there_to_look_at(run, artifacts):
    for name in ("confusion_matrix", "misclassified", "predictions", "loss"):
        png = (artifacts / f"{name}.png").read_bytes()
        assert png.startswith(b"\x89PNG")
        assert len(png) > 10_000
    table = (artifacts / "per_class.csv").read_text().splitlines()
    assert len(table) == 12
    right = sum(int(line.split(",")[1]) for line in table[1:-1])
    assert right == round(run.data.metrics["val/acc"] * 10_000)
    assert "Total params: 5,854" in (artifacts / "summary.txt").read_text()
    assert "epoch 1 of 1" in (artifacts / "train.log").read_text()
    config = OmegaConf.load(artifacts / "config.yaml")
    assert config.step == "s13"
    assert config.model.widths == [10, 10, 12, 12, 12]
    assert "tracking" not in config


@pytest.mark.slow
def test_its_model_loads_without_this_project(trained, run, tmp_path):
    """In a process that cannot import our code, the model scores what was logged."""
    data = IDXFolder(str(MNIST), train=False)
    np.savez(tmp_path / "test.npz", images=data.data, labels=data.targets)
    [model] = trained[0].client.search_logged_models([run.info.experiment_id])
    assert model.source_run_id == run.info.run_id
    script = (
        "import sys, json, numpy, mlflow, mlflow.pytorch, torch\n"
        "test = numpy.load('test.npz')\n"
        "images, some = test['images'], torch.tensor(test['images'][:5, None])\n"
        "model = mlflow.pyfunc.load_model(sys.argv[1])\n"
        "network = mlflow.pytorch.load_model(sys.argv[1])\n"
        "logits = model.predict(images[:5], params={'logits': True})\n"
        "print(json.dumps([float((model.predict(images) == test['labels']).mean()),\n"
        "    torch.equal(network(some.float()), torch.tensor(logits)),\n"
        "    [name for name in sys.modules if name.split('.')[0] in ('experiments', 'models')]]))"
    )
    output = subprocess.check_output(
        [sys.executable, "-c", script, model.artifact_location], cwd=tmp_path, text=True
    )
    assert json.loads(output) == [pytest.approx(run.data.metrics["val/acc"], abs=2e-4), True, []]


@pytest.mark.slow
def test_its_model_is_used_as_the_docs_print_it(trained, run, monkeypatch):
    [model] = trained[0].client.search_logged_models([run.info.experiment_id])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", trained[0].uri)
    page = (PROJECT / "docs" / "mlflow.md").read_text()
    names = {"mlflow": mlflow, "images": np.zeros((5, 28, 28))}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        code = block.replace('["1"]', f'["{run.info.experiment_id}"]')
        exec(code.replace("MODEL_ID", model.model_id), names)
    assert (names["classes"].shape, names["logits"].shape) == ((5,), (5, 10))


def test_its_model_says_what_it_is(trained, run):
    query = f"metrics.`val/acc` = {run.data.metrics['val/acc']} AND params.step = 's13'"
    [model] = trained[0].client.search_logged_models([run.info.experiment_id], query)
    card = model.tags["mlflow.note.content"]
    accuracy = f"{run.data.metrics['val/acc'] * 100:.2f} %"
    assert f"{accuracy}, 1 seed." in card
    assert model.tags["verdict"] in card
    for part in ("step 13,", "5,854 parameters (at most 6,000)", run.data.tags["data.digest"]):
        assert part in card
    [data] = {metric.dataset_name for metric in model.metrics if metric.key == "val/acc"}
    assert data == "MNIST val"


def test_the_same_command_again_trains_nothing(trained, run):
    workplace, _ = trained
    again = workplace.run("train", "step=s13", "trainer.max_epochs=1")
    assert again.returncode == 0
    assert "trained before" in again.stdout
    assert len(workplace.seeds()) == 1
