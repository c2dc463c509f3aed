"""A trained network out of the store. Runs are untrusted: none of their code is run.

The architecture is built from the run's configuration, of networks that this project or PyTorch
has; the weights are read as tensors and nothing else.
"""

import pkgutil
import tempfile
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import yaml
from mlflow.entities import Run
from torch import Tensor, nn

import models
from experiments.cli.errors import UserError, one_line
from experiments.cli.yaml_files import reading
from experiments.tracking.artifacts import CONFIG, LARGEST, WEIGHTS, download, refuse_large
from experiments.tracking.store import Store
from models.augmentation import Normalize
from models.losses import CrossEntropy

# what a network takes: the keys of `data` that must be numbers, with their types
IMAGES = {"in_channels": int, "image_size": int, "num_classes": int, "mean": float, "std": float}


class TrainedNetwork(nn.Module):
    """A network that takes uint8 [N, C, H, W] and returns probabilities [N, K]; see IMAGES."""

    def __init__(self, network: nn.Module, loss: nn.Module, data: dict[str, Any]) -> None:
        super().__init__()
        if not (isinstance(network, nn.Module) and isinstance(loss, nn.Module)):
            raise TypeError("model or loss is not a network")
        self.normalize, self.network = Normalize(data["mean"], data["std"]), network
        self.loss, self.data = loss, data
        self.probabilities = getattr(loss, "probabilities", CrossEntropy.probabilities)

    def forward(self, images: Tensor) -> Tensor:
        return self.probabilities(self.network(self.normalize(images)))


def load_network(store: Store, run: Run) -> TrainedNetwork:
    """The network of a run with the weights that it exported. UserError: it has no network or no
    weights, or they are invalid."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            trained = _described(download(store.client, run.info.run_id, CONFIG, folder))
            path = download(store.client, run.info.run_id, WEIGHTS, folder)
            _read_weights(trained.network, path)
    except UserError as error:
        raise UserError(f"run {run.info.run_id}: {error}") from error
    return trained.eval()


def _described(path: Path) -> TrainedNetwork:
    """The untrained network of a configuration."""
    try:
        with reading(path) as text:
            config = yaml.safe_load(text)
        data = {name: config["data"][name] for name in IMAGES}
        for name, kind in IMAGES.items():
            if type(data[name]) not in (int, kind) or (name != "mean" and not data[name] > 0):
                raise ValueError(f"data.{name} is {data[name]}")
        loss = build_trusted(config.get("loss") or {"_target_": "models.losses.CrossEntropy"})
        with torch.device("meta"):  # takes no memory
            shapes = build_trusted(config["model"]).state_dict().values()
        if (size := sum(tensor.nbytes for tensor in shapes)) > LARGEST[WEIGHTS]:
            raise ValueError(f"its network has {size:,} bytes")
        return TrainedNetwork(build_trusted(config["model"]), loss, data)
    except Exception as error:  # its values may be anything
        raise UserError(f"{CONFIG} describes no network: {one_line(error)}") from error


def _read_weights(network: nn.Module, path: Path) -> None:
    """Give a network the weights of a file."""
    try:
        with zipfile.ZipFile(path) as members:
            refuse_large(WEIGHTS, sum(member.file_size for member in members.infolist()))
        network.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    except Exception as error:  # whatever PyTorch says of a file that is no checkpoint
        what = "its weights are damaged, or not of its network"
        raise UserError(f"{what}: {one_line(error)}") from error


def build_trusted(node: Any) -> Any:
    """Build a part of a configuration: networks and layers out of plain values. ValueError: it asks
    for anything else, which is not even imported then."""
    if isinstance(node, list):
        return [build_trusted(child) for child in node]
    if not isinstance(node, dict):
        return node
    values = {key: build_trusted(child) for key, child in node.items()}
    if "_target_" not in node:
        return values
    target = str(values.pop("_target_"))
    module, _, name = target.rpartition(".")
    ours = {found.name for found in pkgutil.walk_packages(models.__path__, "models.")}
    kind = getattr(import_module(module), name, None) if module in {"torch.nn", *ours} else None
    is_network = isinstance(kind, type) and issubclass(kind, nn.Module)
    if not (is_network and kind.__module__.startswith(("models.", "torch.nn.modules."))):
        raise ValueError(f"{target} is not a network of models or torch.nn; others are refused")
    return kind(*values.pop("_args_", ()), **values)
