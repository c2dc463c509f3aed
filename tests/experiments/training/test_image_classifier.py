"""A model takes images as people have them, and refuses what are none."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
from conftest import MNIST, closed_port, get, quick, serving
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from torch import nn

from experiments.data.idx import IDXFolder
from experiments.training.image_classifier import ImageClassifier, save_model

SHAPE = (1, 28, 28)
DATA = IDXFolder(str(MNIST), train=False)
IMAGES = DATA.data[:5].numpy()
ROWS = IMAGES.reshape(5, 784)


@pytest.fixture(scope="module")
def model() -> ImageClassifier:
    torch.manual_seed(0)
    return ImageClassifier(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), SHAPE)


FORMS = {
    "bytes": IMAGES[:, None],
    "without channels": IMAGES,
    "rows": ROWS,
    "single precision": ROWS.astype(np.float32),
    "double precision": ROWS.astype(float),
    "from 0 to 1": ROWS / 255,
    "a list": IMAGES[:, None].tolist(),
    "a list of rows": ROWS.tolist(),
    "a tensor": torch.tensor(IMAGES),
    "a frame": pd.DataFrame(ROWS),
    "a frame of images": pd.DataFrame({"image": list(ROWS)}),
    "a frame of lists": pd.DataFrame({"image": IMAGES.tolist()}),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_of_the_same_images_has_the_same_classes(model, form):
    expected = model.network(torch.tensor(ROWS).float()).argmax(1).tolist()
    assert len(set(expected)) > 1
    assert model.predict(FORMS[form]).tolist() == expected
    assert model.predict(FORMS[form], {"logits": True}).shape == (5, 10)


def test_a_model_loads_where_there_is_a_gpu(model, tmp_path, monkeypatch):
    path, images = tmp_path / "model", torch.tensor(ROWS[:2]).view(2, *SHAPE).float()
    save_model(path, Model(), model.network, images)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    found = mlflow.pyfunc.load_model(str(path)).predict(ROWS)
    assert found.tolist() == model.predict(ROWS).tolist()


def test_the_class_of_an_image_does_not_depend_on_its_neighbours(model):
    mixed = np.concatenate((ROWS / 255, ROWS))
    assert model.predict(mixed).tolist() == model.predict(ROWS).tolist() * 2
    assert model.predict(ROWS[:0]).tolist() == []


@pytest.mark.parametrize(
    ("images", "complaint"),
    [
        (IMAGES[:, :20], "N of (1, 28, 28) or N rows of 784"),
        (np.zeros((2, 28, 28, 1)), "N of (1, 28, 28)"),
        ([[1, 2], [3]], "images must be numbers"),
        (["seven"], "images must be numbers"),
        (7, "images must be numbers"),
        ((ROWS / 255 - 0.13) / 0.31, "the network normalises them itself"),
        (np.full((1, 784), np.nan), "from 0 to 255"),
        (ROWS * 256.0, "from 0 to 255"),
    ],
)
def test_what_are_no_images_is_refused(model, images, complaint):
    with pytest.raises(MlflowException) as error:
        model.predict(images)
    assert complaint in str(error.value)


@pytest.mark.slow
def test_mlflow_s_own_commands_take_the_model(workplace, small, tmp_path):
    """`mlflow models predict`, `mlflow models serve`, and `mlflow.models.evaluate`."""
    command = quick(small, "tracking.model=true", "trainer.max_epochs=3")
    assert workplace.run("train", *command).returncode == 0
    [run] = workplace.seeds()
    [output] = run.outputs.model_outputs
    model, classes = f"models:/{output.model_id}", DATA.targets[:500].numpy()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # the server is a command there
    environment = os.environ | {"MLFLOW_TRACKING_URI": workplace.uri, "PATH": path}
    cli = [sys.executable, "-m", "mlflow", "models"]
    local = ["-m", model, "--env-manager", "local"]
    pixels = pd.DataFrame(DATA.data[:500].reshape(500, 784).numpy()).add_prefix("pixel")
    pixels[:5].to_csv(tmp_path / "images.csv", index=False)
    where = {"cwd": tmp_path, "env": environment}
    printed = subprocess.check_output(
        [*cli, "predict", *local, "-i", "images.csv", "-t", "csv"], text=True, **where
    )
    predicted = json.loads(printed.splitlines()[-1])["predictions"]
    assert len(predicted) == 5
    port = closed_port()
    with serving([*cli, "serve", *local, "-p", str(port)], port, **where) as address:
        for body in (
            {"inputs": DATA.data[:5, None].tolist()},
            {"instances": ROWS.tolist()},
            {"dataframe_split": pixels[:5].to_dict(orient="split")},
        ):
            answer = get(f"{address}/invocations", json.dumps(body).encode())
            assert json.loads(answer) == {"predictions": predicted}
    mlflow.set_tracking_uri(workplace.uri)
    mlflow.set_experiment(experiment_id=run.info.experiment_id)
    table = pixels.assign(label=classes)
    found = mlflow.models.evaluate(model, table, targets="label", model_type="classifier").metrics
    assert found["accuracy_score"] == pytest.approx(run.data.metrics["val/acc"], abs=2e-3)
