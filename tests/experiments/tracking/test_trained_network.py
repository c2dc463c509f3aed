"""Networks of untrusted runs, whose code is never run."""

import os
import pickle
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
import yaml
from conftest import configure, trainer_of

from experiments.budget.network import build_network
from experiments.cli.errors import UserError
from experiments.data import images
from experiments.tracking.artifacts import WEIGHTS
from experiments.tracking.store import Store
from experiments.tracking.trained_network import load_network
from experiments.training.module import make_module
from experiments.training.trainer import fit_from

DAMAGED = "its weights are damaged, or not of its network"
NO_NETWORK = "config.yaml describes no network"


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


class Untrusted:
    """A run with artifacts to be changed; `marker` exists if their code was run."""

    def __init__(self, digits, folder: Path) -> None:
        [self.run] = digits.seeds()
        self.store = Store(configure("predict", f"tracking.uri={digits.uri}").tracking)
        self.artifacts = Path(self.run.info.artifact_uri.removeprefix("file://"))
        self.marker = folder / "marker"

    def load(self):
        return load_network(self.store, self.run)

    def is_refused(self, complaint: str = "") -> None:
        with pytest.raises(UserError) as error:
            self.load()
        assert not self.marker.exists()
        assert str(error.value).startswith(f"run {self.run.info.run_id}: ")
        assert complaint in str(error.value)
        assert "\n" not in str(error.value)


@pytest.fixture
def untrusted(digits, tmp_path):
    untrusted = Untrusted(digits, tmp_path)
    shutil.copytree(untrusted.artifacts, tmp_path / "kept")
    yield untrusted
    shutil.rmtree(untrusted.artifacts)
    shutil.copytree(tmp_path / "kept", untrusted.artifacts)


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


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        (part, kind)
        for part in ("model", "loss")
        for kind in EVIL_MODELS
        if part == "model" or kind not in ("nothing", "other weights")  # valid as a loss
    ],
)
def test_an_untrusted_configuration_runs_no_code(untrusted, part, kind):
    path = untrusted.artifacts / "config.yaml"
    text = yaml.safe_dump({part: EVIL_MODELS[kind]}).replace("{marker}", str(untrusted.marker))
    config = yaml.safe_load(path.read_text()) | yaml.safe_load(text)
    path.write_text(yaml.safe_dump(config))
    untrusted.is_refused("" if kind == "other weights" else NO_NETWORK)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("weights.pt", lambda marker: {"conv1.weight": Evil(marker)}, DAMAGED),
        ("weights.pt", lambda marker: {"conv1.weight": 3}, DAMAGED),
        ("weights.pt", lambda marker: [torch.zeros(3)], DAMAGED),
        ("weights.pt", lambda marker: {"other": torch.zeros(3)}, DAMAGED),
        ("weights.pt", lambda marker: b"", DAMAGED),
        ("weights.pt", lambda marker: b"a text", DAMAGED),
        ("weights.pt", lambda marker: pickle.dumps(Evil(marker)), DAMAGED),
        (
            "config.yaml",
            lambda marker: f"model: !!python/object/apply:os.system ['touch {marker}']".encode(),
            NO_NETWORK,
        ),
        ("config.yaml", lambda marker: b"- a list", NO_NETWORK),
        ("config.yaml", lambda marker: b"data: {}", NO_NETWORK),
        ("config.yaml", None, "has no config.yaml among its artifacts"),
        ("weights.pt", None, "has no weights.pt among its artifacts"),
    ],
)
def test_untrusted_files_run_no_code(untrusted, name, content, complaint):
    path = untrusted.artifacts / name
    if content is None:
        path.unlink()
    elif isinstance(thing := content(untrusted.marker), bytes):
        path.write_bytes(thing)
    else:
        torch.save(thing, path)
    untrusted.is_refused(complaint)


def test_an_untrusted_checkpoint_runs_no_code(workplace, small, capsys):
    """Training resumes from it."""
    marker, last = workplace.folder / "marker", workplace.folder / "last.ckpt"
    torch.save({"state_dict": {}, "callbacks": Evil(marker)}, last)
    short = ("trainer.accelerator=cpu", "trainer.max_epochs=1")
    cfg = configure("train", "data=idx", f"data.root={small}", *short)
    data, _ = images.load(cfg)
    module = make_module(cfg, build_network(cfg), len(data.train.labels))
    fit_from(last, trainer_of(cfg, workplace), module, data)
    assert "last.ckpt: damaged, or contains more than tensors" in capsys.readouterr().err
    assert not marker.exists()


def test_a_huge_network_or_a_zip_bomb_is_refused_before_it_takes_memory(untrusted):
    path = untrusted.artifacts / "config.yaml"
    config = yaml.safe_load(path.read_text())
    huge = {"_target_": "torch.nn.Linear", "in_features": 2**20, "out_features": 2**20}
    path.write_text(yaml.safe_dump({**config, "model": huge}))
    untrusted.is_refused("its network has 4,39")
    path.write_text(yaml.safe_dump({**config, "padding": "x" * 100_000}))
    untrusted.is_refused("more than 100,000")
    path.write_text(yaml.safe_dump(config))
    [weights] = untrusted.artifacts.rglob(Path(WEIGHTS).name)
    with (
        zipfile.ZipFile(weights, "w", zipfile.ZIP_DEFLATED) as bomb,
        bomb.open("archive/data.pkl", "w") as member,
    ):
        for _ in range(1025):
            member.write(bytes(2**20))
    untrusted.is_refused("more than 1,073,741,824")
