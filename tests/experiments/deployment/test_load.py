"""Trained networks found in a store; those of strangers, of which no code is run."""

import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from conftest import Workplace, configure

from experiments.budget.network import design
from experiments.cli.errors import UserError
from experiments.data.images import load
from experiments.deployment.find import best, find
from experiments.tracking.store import Store
from experiments.training.trainer import fit_from, make_module, make_trainer


def store(workplace: Workplace) -> Store:
    return Store(configure("predict", f"tracking.uri={workplace.uri}").tracking)


def test_a_registered_model_is_named_by_version_and_alias(digits, csv_files, run_predict):
    [run] = digits.seeds()
    client = digits.client
    client.create_registered_model("digits")
    client.create_model_version("digits", run.info.artifact_uri, run_id=run.info.run_id)
    client.set_registered_model_alias("digits", "champion", "1")
    names = ("digits", "digits/1", "digits@champion", "models:/digits/1")
    assert {find(store(digits), name).info.run_id for name in names} == {run.info.run_id}
    for name in ("digits/2", "digits@loser", "letters", "m-" + "0" * 32, "0" * 32, "x'y", "a/b/c"):
        status, _, errors = run_predict(f'run="{name}"', f"input={csv_files}/test.csv")
        assert status == 1
        assert "is neither a run nor a registered model of" in errors
        assert len(errors.splitlines()) == 1


def test_a_parent_stands_for_its_best_seed(digits):
    [run] = digits.seeds()
    parent = run.data.tags["mlflow.parentRunId"]
    assert find(store(digits), parent).info.run_id == run.info.run_id


class Candidates:
    """Runs as a store has them, in place of hours of training."""

    def __init__(self, workplace: Workplace) -> None:
        self.client = workplace.client
        self.experiment = self.client.create_experiment("parsimony")

    def add(self, parameters: int, mean: float, *seeds: float, classes: str = "None") -> str:
        """A parent with its seeds; the id of its best seed."""
        parent = self._run({}, {"val/acc_mean": mean, "seeds": len(seeds)}, parameters, classes)
        tags = {"mlflow.parentRunId": parent}
        children = [self._run(tags, {"val/acc": seed}, parameters, classes) for seed in seeds]
        return children[seeds.index(max(seeds))]

    def _run(self, tags: dict, metrics: dict, parameters: int, classes: str) -> str:
        run = self.client.create_run(self.experiment, tags=tags).info.run_id
        for name, value in (metrics | {"parameters": parameters}).items():
            self.client.log_metric(run, name, value)
        self.client.log_param(run, "target.val_acc", "0.99")
        self.client.log_param(run, "data.classes", classes)
        self.client.set_terminated(run)
        return run


def test_best_is_the_smallest_that_holds_its_target(workplace):
    candidates = Candidates(workplace)
    with pytest.raises(UserError, match=r"of 0 finished runs in .* none holds a target"):
        best(store(workplace))
    candidates.add(9000, 0.985, 0.98, 0.989)
    candidates.add(100, 0.999, 0.999, classes="[0, 5]")  # does not know all digits
    with pytest.raises(UserError, match=r"of 2 finished runs in .* none holds a target"):
        best(store(workplace))
    lucky = candidates.add(5000, 0.989, 0.988, 0.9901)  # one seed does, their mean does not
    assert best(store(workplace)).info.run_id == lucky
    candidates.add(8000, 0.995, 0.995)
    sure = candidates.add(7000, 0.9905, 0.992, 0.989)
    assert best(store(workplace)).info.run_id == sure
    some = best(store(workplace), "params.`data.classes` = '[0, 5]'")
    assert some.data.metrics["parameters"] == 100
    with pytest.raises(UserError, match="where=sizes: "):
        best(store(workplace), "sizes")


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.fixture
def stranger(digits, tmp_path):
    """The artifacts of the run, to be changed, as from someone else; and a file that is
    only there if their code was run."""
    [run] = digits.seeds()
    artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
    shutil.copytree(artifacts, tmp_path / "kept")
    yield artifacts, tmp_path / "marker"
    shutil.rmtree(artifacts)
    shutil.copytree(tmp_path / "kept", artifacts)


EVIL_MODELS = {
    "a function": {"_target_": "os.system", "_args_": ["touch {marker}"]},
    "through our modules": {
        "_target_": "models.native.kernels.subprocess.run",
        "_args_": [["touch", "{marker}"]],
    },
    "our function": {"_target_": "models.native.kernels.library"},
    "through torch": {
        "_target_": "torch.nn.modules.module.os.system",
        "_args_": ["touch {marker}"],
    },
    "our program": {
        "_target_": "experiments.tracking.provenance._git",
        "_args_": ["touch {marker}"],
    },
    "a class": {"_target_": "logging.FileHandler", "_args_": ["{marker}"]},  # Hydra allows that
    "a class of ours": {
        "_target_": "models.lightning.learner.logging.FileHandler",
        "_args_": ["{marker}"],
    },
    "nested": {
        "_target_": "torch.nn.Sequential",
        "_args_": [{"_target_": "logging.FileHandler", "_args_": ["{marker}"]}],
    },
    "deeper": {
        "_target_": "models.networks.mlp.MLP",
        "widths": [{"a": {"_target_": "logging.FileHandler", "_args_": ["{marker}"]}}],
    },
    "partial": {"_target_": "models.networks.mlp.MLP", "_partial_": True},
    "environment": {"_target_": "models.networks.mlp.MLP", "widths": "${oc.env:HOME}"},
    "no network": "models.networks.mlp.MLP",
    "nothing": None,
    "not built": {"_target_": "models.networks.mlp.MLP", "widths": [-1]},
    "other weights": {"_target_": "models.networks.mlp.MLP", "widths": [8]},
}


@pytest.mark.parametrize("kind", EVIL_MODELS)
@pytest.mark.parametrize("part", ["model", "loss"])
def test_a_stranger_s_configuration_runs_no_code(
    stranger, digits, csv_files, run_predict, kind, part
):
    if part == "loss" and kind in ("nothing", "other weights"):
        pytest.skip("is no mistake")
    artifacts, marker = stranger
    config = yaml.safe_load((artifacts / "config.yaml").read_text())
    text = yaml.safe_dump({part: EVIL_MODELS[kind]})
    config |= yaml.safe_load(
        text.replace("{marker}", str(marker)).replace("{{", "{").replace("}}", "}")
    )
    (artifacts / "config.yaml").write_text(yaml.safe_dump(config))
    [run] = digits.seeds()
    status, printed, errors = run_predict(f"run={run.info.run_id}", f"input={csv_files}/test.csv")
    assert not marker.exists()
    assert (status, printed) == (1, "")
    assert errors.startswith(f"error: run {run.info.run_id}: ")
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("weights.pt", lambda marker: {"conv1.weight": Evil(marker)}, "is damaged, or not only"),
        ("weights.pt", lambda marker: {"conv1.weight": 3}, "is damaged, or not only weights"),
        ("weights.pt", lambda marker: [torch.zeros(3)], "is damaged, or not only weights"),
        (
            "weights.pt",
            lambda marker: {"other": torch.zeros(3)},
            "are not those of its network",
        ),
        ("weights.pt", lambda marker: b"", "is damaged, or not only weights"),
        ("weights.pt", lambda marker: b"a text", "is damaged, or not only weights"),
        (
            "weights.pt",
            lambda marker: pickle.dumps(Evil(marker)),
            "is damaged, or not only weights",
        ),
        (
            "config.yaml",
            lambda marker: f"model: !!python/object/apply:os.system ['touch {marker}']".encode(),
            "config.yaml is not YAML",
        ),
        ("config.yaml", lambda marker: b"- a list", "config.yaml is not a configuration"),
        ("config.yaml", lambda marker: b"data: {}", "config.yaml describes no network"),
        ("config.yaml", None, "has no config.yaml among its artifacts"),
    ],
)
def test_a_stranger_s_files_run_no_code(
    stranger, digits, csv_files, run_predict, name, content, complaint
):
    artifacts, marker = stranger
    if content is None:
        (artifacts / name).unlink()
    elif isinstance(thing := content(marker), bytes):
        (artifacts / name).write_bytes(thing)
    else:
        torch.save(thing, artifacts / name)
    [run] = digits.seeds()
    status, printed, errors = run_predict(f"run={run.info.run_id}", f"input={csv_files}/test.csv")
    assert not marker.exists()
    assert (status, printed) == (1, "")
    assert complaint in errors
    assert len(errors.splitlines()) == 1


def test_a_stranger_s_checkpoint_runs_no_code(tmp_path, small):
    """Where training is to go on from it."""
    marker, last = tmp_path / "marker", tmp_path / "last.ckpt"
    torch.save({"state_dict": {}, "callbacks": Evil(marker)}, last)
    cfg = configure("train", "data=idx", f"data.root={small}", "trainer.accelerator=cpu")
    data, _ = load(cfg)
    module = make_module(cfg, design(cfg)[0], len(data.train.labels))
    with pytest.raises(UserError, match=r"last.ckpt is damaged, or holds more than figures"):
        fit_from(last, make_trainer(cfg, tmp_path), module, data)
    assert not marker.exists()


def test_a_run_without_weights_in_the_store_has_those_of_its_checkpoint(
    stranger, digits, csv_files, run_predict
):
    artifacts, _ = stranger
    [run] = digits.seeds()
    arguments = (f"run={run.info.run_id}", f"input={csv_files}/test.csv")
    before = run_predict(*arguments)
    (artifacts / "weights.pt").unlink()
    assert run_predict(*arguments) == before
    status, _, errors = run_predict(*arguments, "checkpoints.root=/nowhere")
    assert status == 1
    assert "its weights are neither in the store nor in /nowhere/" in errors
