"""A trained network out of the store. Runs are untrusted: none of their code is run.

The architecture is built from the run's configuration, of networks that this project or PyTorch
has; the weights are read as tensors and nothing else.
"""

import pkgutil
import re
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from hydra.errors import HydraException
from hydra.utils import instantiate
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from torch import Tensor, nn

import models
from experiments.cli.errors import UserError, one_line
from experiments.tracking.run import CONFIG, WEIGHTS
from experiments.tracking.store import CONFIG_HASH, Store
from models.losses import CrossEntropy
from models.normalize import Normalize

# what a network takes: the keys of `data` that must be numbers, with their types
IMAGES = {"in_channels": int, "image_size": int, "num_classes": int, "mean": float, "std": float}


class Trained(NamedTuple):
    """A network that takes uint8 [N, C, H, W] and returns probabilities [N, K]."""

    network: nn.Module
    data: dict[str, Any]  # see IMAGES


class Function(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def load(store: Store, run: Run, checkpoints: Path) -> Trained:
    """The network of a run with the weights of its best epoch.

    Args:
        checkpoints: the folder with the weights of runs that have none in the store.

    Raises:
        UserError: the run has no network or no weights, or they are invalid.
    """
    try:
        return _load(store, run, checkpoints)
    except UserError as error:
        raise UserError(f"run {run.info.run_id}: {error}") from error


def _load(store: Store, run: Run, checkpoints: Path) -> Trained:
    with tempfile.TemporaryDirectory() as temporary:
        config = _read_config(_download(store, run, CONFIG, temporary))
        network = _build(config.get("model"))
        loss = CrossEntropy() if config.get("loss") is None else _build(config["loss"])
        weights = _download(store, run, WEIGHTS, temporary)
        if weights is None:
            identity = re.sub(r"\W", "", run.data.tags.get(CONFIG_HASH, ""))
            weights = checkpoints / identity / "best.ckpt"
        state = _read_weights(weights)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = one_line(error)[:200]
        raise UserError(f"its weights are not those of its network: {reason}") from error
    data = _image_facts(config.get("data"))
    probabilities = getattr(loss, "probabilities", CrossEntropy.probabilities)
    layers = Normalize(data["mean"], data["std"]), network, Function(probabilities)
    return Trained(nn.Sequential(*layers).eval(), data)


def network_class(target: str) -> type[nn.Module] | None:
    """The class that a `_target_` names, if it is a network or a layer of this project's
    `models` or of torch.nn; nothing else is even imported."""
    module, _, name = target.rpartition(".")
    if module == "torch.nn":
        kind, home = getattr(nn, name, None), "torch.nn.modules."
    elif module in {found.name for found in pkgutil.walk_packages(models.__path__, "models.")}:
        kind, home = getattr(import_module(module), name, None), module
    else:
        return None
    is_network = isinstance(kind, type) and issubclass(kind, nn.Module)
    return kind if is_network and f"{kind.__module__}.".startswith(home) else None


def _download(store: Store, run: Run, name: str, folder: str) -> Path | None:
    """An artifact of the run; None if the run does not have it."""
    try:
        return Path(store.client.download_artifacts(run.info.run_id, name, folder))
    except (MlflowException, OSError):
        return None


def _read_config(path: Path | None) -> dict[str, Any]:
    if path is None:
        raise UserError(f"has no {CONFIG} among its artifacts")
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{CONFIG} is not YAML") from error
    if not isinstance(config, dict):
        raise UserError(f"{CONFIG} is not a configuration")
    return config


def _build(part: Any) -> nn.Module:
    """Build the network that a part of a configuration describes.

    Raises:
        UserError: it asks for anything but networks, layers and plain values.
    """
    if not isinstance(part, dict) or "_target_" not in part:
        raise UserError(f"{CONFIG} describes no network")
    _check(part)
    try:
        return instantiate(part)
    except (HydraException, RuntimeError) as error:
        reason = one_line(error.__cause__ or error)[:200]
        raise UserError(f"its network cannot be built: {reason}") from error


def _check(node: Any) -> None:
    if isinstance(node, list):
        for child in node:
            _check(child)
    elif isinstance(node, str) and "${" in node:
        raise UserError(f"{CONFIG} is not resolved: {node[:40]}")
    elif isinstance(node, dict):
        for key, child in node.items():
            if key == "_target_":
                if not isinstance(child, str) or network_class(child) is None:
                    raise UserError(
                        f"asks for {str(child)[:80]}; out of a run's configuration only networks "
                        "of models and torch.nn are built, as others could do anything"
                    )
            elif str(key).startswith("_") and key != "_args_":
                raise UserError(f"{CONFIG} has a key {str(key)[:40]}, which is refused")
            else:
                _check(child)


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except OSError as error:
        raise UserError(f"its weights are neither in the store nor in {path}") from error
    except Exception as error:  # whatever PyTorch says of a file that is no checkpoint
        raise UserError(f"{path.name} is damaged, or not only weights") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = {name.removeprefix("network."): w for name, w in state["state_dict"].items()}
    if not isinstance(state, dict) or not all(isinstance(w, Tensor) for w in state.values()):
        raise UserError(f"{path.name} is damaged, or not only weights")
    return state


def _image_facts(data: Any) -> dict[str, Any]:
    """What the network takes, from the `data` of its configuration."""
    facts = {}
    for name, kind in IMAGES.items():
        value = data.get(name) if isinstance(data, dict) else None
        if type(value) not in (int, kind) or (name != "mean" and not value > 0):
            raise UserError(f"data.{name} of {CONFIG} is invalid: {value}")
        facts[name] = value
    return facts
