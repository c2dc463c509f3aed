"""A trained network out of the store, whoever put it there: none of their code is run.

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
from experiments.evidence import search
from experiments.family import PARENT
from experiments.program import UserError
from experiments.tracking import CONFIG, CONFIG_HASH, WEIGHTS, Store, reason
from models.learner import Normalize
from models.losses import CrossEntropy

FACTS = {"in_channels": int, "image_size": int, "num_classes": int, "mean": float, "std": float}


class Trained(NamedTuple):
    """A network that takes uint8 [N, C, H, W] and returns probabilities [N, K]."""

    network: nn.Module
    data: dict[str, Any]  # what the images are: see FACTS
    run: Run


def find(store: Store, name: str) -> Run:
    """The run of an id, or the one that a registered model comes from.

    Of a parent run it is the seed that came out best.

    Raises:
        UserError: there is none, or it was not trained to its end.
    """
    try:
        run = store.client.get_run(name if re.fullmatch(r"\w{32}", name) else _source(store, name))
    except MlflowException as error:
        raise UserError(
            f"run={name}: is neither a run nor a registered model of {store.uri}; "
            "make ui shows what there is"
        ) from error
    if PARENT in run.data.tags:
        if run.info.status != "FINISHED":
            raise UserError(f"run={name}: is {run.info.status}; only a finished run can predict")
        return run
    seeds = _finished(store, f"tags.`{PARENT}` = '{run.info.run_id}'")
    if not seeds:
        raise UserError(f"run={name}: has no finished seed")
    return max(seeds, key=lambda seed: seed.data.metrics.get("val/acc", 0))


def best(store: Store, where: str | None = None) -> Run:
    """The smallest network that holds its target by the mean of its seeds; if there is
    none, the smallest of which a single run does. Of its seeds the one that came out best.

    Args:
        where: a filter of MLflow's; None: of all that know every class of their data.

    Raises:
        UserError: no network holds its target, or the filter is none.
    """
    also = f" and {where}" if where else ""
    try:
        parents = _finished(store, f"metrics.seeds > 0{also}")
        seeds = _finished(store, f"tags.`{PARENT}` != ''{also}")
    except MlflowException as error:
        raise UserError(f"where={where}: {reason(error)}") from error
    if where is None:
        parents, seeds = (
            [run for run in runs if run.data.params.get("data.classes", "None") == "None"]
            for runs in (parents, seeds)
        )
    for runs, figure in ((parents, "val/acc_mean"), (seeds, "val/acc")):
        holding = [run for run in runs if _holds(run, figure)]
        if holding:
            smallest = min(
                holding,
                key=lambda run: (run.data.metrics["parameters"], -run.data.metrics[figure]),
            )
            return find(store, smallest.info.run_id)
    raise UserError(
        f"run=best: of {len(seeds):,} finished runs in {store.uri} none holds a target; "
        "train with a target, or name a run with run="
    )


def load(store: Store, run: Run, checkpoints: Path) -> Trained:
    """The network of a run with the weights of its best epoch.

    Args:
        checkpoints: the folder that has the weights of a run that has none in the store.

    Raises:
        UserError: the run keeps no such thing, or what it keeps is not what it should be.
    """
    where = f"run {run.info.run_id}"
    with tempfile.TemporaryDirectory() as temporary:
        config = _config(_fetched(store, run, CONFIG, temporary), where)
        network = _built(config.get("model"), where)
        loss = CrossEntropy() if config.get("loss") is None else _built(config["loss"], where)
        weights = _fetched(store, run, WEIGHTS, temporary)
        if weights is None:
            identity = re.sub(r"\W", "", run.data.tags.get(CONFIG_HASH, ""))
            weights = checkpoints / identity / "best.ckpt"
        state = _weights(weights, where)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        refusal = " ".join(str(error).split())[:200]
        raise UserError(f"{where}: its weights are not those of its network: {refusal}") from error
    data = _facts(config.get("data"), where)
    probabilities = getattr(loss, "probabilities", CrossEntropy.probabilities)
    layers = Normalize(data["mean"], data["std"]), network, Function(probabilities)
    return Trained(nn.Sequential(*layers).eval(), data, run)


class Function(nn.Module):
    """A function as a layer."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


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
    there = isinstance(kind, type) and issubclass(kind, nn.Module)
    return kind if there and f"{kind.__module__}.".startswith(home) else None


def _source(store: Store, name: str) -> str:
    """The id of the run that a registered, or a logged, model comes from."""
    client, name = store.client, name.removeprefix("models:/")
    title, _, alias = name.partition("@")
    title, _, version = title.partition("/")
    if re.fullmatch(r"m-\w{32}", name):
        return client.get_logged_model(name).source_run_id
    if alias:
        return client.get_model_version_by_alias(title, alias).run_id
    if version:
        return client.get_model_version(title, version).run_id
    versions = client.search_model_versions(f"name = '{title.replace(chr(39), '')}'")
    if not versions:
        raise MlflowException(f"there is no model {title}")
    return max(versions, key=lambda found: int(found.version)).run_id


def _finished(store: Store, query: str) -> list[Run]:
    return search(store, f"{query} and attributes.status = 'FINISHED'")


def _holds(run: Run, figure: str) -> bool:
    target = run.data.params.get("target.val_acc", "None")
    metrics = run.data.metrics
    return target != "None" and "parameters" in metrics and metrics.get(figure, 0) >= float(target)


def _fetched(store: Store, run: Run, name: str, folder: str) -> Path | None:
    """A file of the run, if it has it."""
    try:
        return Path(store.client.download_artifacts(run.info.run_id, name, folder))
    except (MlflowException, OSError):
        return None


def _config(path: Path | None, where: str) -> dict[str, Any]:
    if path is None:
        raise UserError(f"{where}: has no {CONFIG} among its artifacts")
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{where}: {CONFIG} is not YAML") from error
    if not isinstance(config, dict):
        raise UserError(f"{where}: {CONFIG} is not a configuration")
    return config


def _built(part: Any, where: str) -> nn.Module:
    """What a part of a configuration describes.

    Raises:
        UserError: it asks for anything but networks, layers and plain values.
    """
    if not isinstance(part, dict) or "_target_" not in part:
        raise UserError(f"{where}: {CONFIG} describes no network")
    _check(part, where)
    try:
        return instantiate(part)
    except (HydraException, RuntimeError) as error:
        refusal = " ".join(str(error.__cause__ or error).split())[:200]
        raise UserError(f"{where}: its network cannot be built: {refusal}") from error


def _check(node: Any, where: str) -> None:
    if isinstance(node, list):
        for child in node:
            _check(child, where)
    elif isinstance(node, str) and "${" in node:
        raise UserError(f"{where}: {CONFIG} is not resolved: {node[:40]}")
    elif isinstance(node, dict):
        for key, child in node.items():
            if key == "_target_":
                if not isinstance(child, str) or network_class(child) is None:
                    raise UserError(
                        f"{where}: asks for {str(child)[:80]}; out of a run's configuration only "
                        "networks of models and torch.nn are built, as others could do anything"
                    )
            elif str(key).startswith("_") and key != "_args_":
                raise UserError(f"{where}: {CONFIG} has a key {str(key)[:40]}, which is refused")
            else:
                _check(child, where)


def _weights(path: Path, where: str) -> dict[str, Tensor]:
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except OSError as error:
        raise UserError(f"{where}: its weights are neither in the store nor in {path}") from error
    except Exception as error:  # whatever PyTorch says of a file that is no checkpoint
        raise UserError(f"{where}: {path.name} is damaged, or not only weights") from error
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = {name.removeprefix("network."): w for name, w in state["state_dict"].items()}
    if not isinstance(state, dict) or not all(isinstance(w, Tensor) for w in state.values()):
        raise UserError(f"{where}: {path.name} is damaged, or not only weights")
    return state


def _facts(data: Any, where: str) -> dict[str, Any]:
    """What the network takes, from the `data` of its configuration."""
    facts = {}
    for name, kind in FACTS.items():
        value = data.get(name) if isinstance(data, dict) else None
        if type(value) not in (int, kind) or (name not in ("mean",) and not value > 0):
            raise UserError(f"{where}: data.{name} of {CONFIG} is {value}, which is none")
        facts[name] = value
    return facts
