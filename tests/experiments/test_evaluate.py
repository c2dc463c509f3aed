"""A finished run, scored on other images, with its figures beside it in MLflow."""

import functools
import re
import sqlite3
from contextlib import closing

import pytest
import torch
from conftest import Workplace, configure

from experiments.data.idx import IDXFolder
from experiments.deployment.find import find_run
from experiments.deployment.inference import predict_probabilities
from experiments.tracking.arms import gather
from experiments.tracking.store import Store
from experiments.tracking.trained_network import load_network


@pytest.fixture
def copied(digits, workplace) -> Workplace:
    """A copy of the store, as other tests count its runs."""
    with (
        closing(sqlite3.connect(digits.folder / "mlflow.db")) as source,
        closing(sqlite3.connect(workplace.folder / "mlflow.db")) as target,
    ):
        source.backup(target)
    return workplace


@pytest.fixture
def run_evaluate(copied, run_here):
    return functools.partial(run_here, "evaluate", f"tracking.uri={copied.uri}")


def test_a_run_is_scored_on_another_data_set(digits, copied, small, run_evaluate):
    [run] = copied.seeds()
    store = Store(configure("predict", f"tracking.uri={copied.uri}").tracking)
    arms = gather(store.search(""))
    other = ("run=best", "data=idx", f"data.root={small}")
    status, printed, error = run_evaluate(*other)
    assert status == 0, error
    scored = r"IDXFolder test: ([\d.]+) % of 500 images right, loss [\d.]+: .*/runs/(\w{32})\nby"
    name = re.search(scored, printed)
    data = IDXFolder(str(small), train=False)
    network = load_network(store, find_run(store, run.info.run_id))
    chances = predict_probabilities(
        network, data.data[:, None].expand(-1, 3, -1, -1), batch_size=500
    )
    right = (chances.argmax(1) == data.targets).float().mean()
    assert float(name[1]) == pytest.approx(100 * float(right), abs=0.005)
    found = copied.client.get_run(name[2])
    assert found.info.status == "FINISHED"
    assert found.data.metrics["test/acc"] == pytest.approx(float(right))
    loss = torch.nn.functional.nll_loss(chances.log(), data.targets)
    assert found.data.metrics["test/loss"] == pytest.approx(float(loss), rel=1e-3)
    assert found.data.tags["mlflow.parentRunId"] == run.info.run_id
    assert [each.dataset.name for each in found.inputs.dataset_inputs] == ["IDXFolder test"]
    again = run_evaluate(*other)[1]
    assert again == printed  # and no second run
    _, printed, _ = run_evaluate(*other, "split=train")
    assert printed.startswith("IDXFolder train: ") and "of 2,000 images right" in printed
    assert len(copied.client.search_runs([run.info.experiment_id])) == 4
    assert gather(store.search("")) == arms  # it is no evidence of its own
    assert find_run(store, "best").info.run_id == run.info.run_id


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "give run=ID, of a run or a registered model, or run=best"),
        (["run=best", "data=idx", "data.root=/nowhere"], "/nowhere"),
        (["run=best", "split=some"], "split must be 'train', 'val' or 'test'"),
        (["run=best", "data.image_size=32"], "data.image_size is 32, but the network is for 28"),
        (["run=best", "data=emnist"], "data.num_classes is "),
    ],
)
def test_what_cannot_be_scored_is_refused_in_a_line(run_evaluate, arguments, complaint):
    status, printed, error = run_evaluate(*arguments)
    assert (status, printed) == (1, "")
    assert complaint in error
    assert len(error.splitlines()) == 1


def test_the_screen_is_as_kept(run_evaluate, small, screen):
    _, output, errors = run_evaluate("run=best", "data=idx", f"data.root={small}")
    screen("evaluate", errors + output, varying=r"[\d.]+ %|loss [\d.]+")
