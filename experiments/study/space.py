"""The networks and recipes that a search chooses from."""

import copy
import difflib
from collections.abc import Iterator
from typing import Any

import torch
from hydra.utils import get_object, instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from experiments.budget.cost import exceeded_limits
from experiments.budget.network import rehearse
from experiments.cli.config import flatten
from experiments.cli.errors import UserError

RANGE = {"low", "high", "step", "log"}

ABSENT = object()

Params = dict[str, Any]


class Space:
    """Values for some keys of a configuration, and what is over budget among them.

    Args:
        cfg: the configuration that they change.
        space: by dotted key, what it may be: a list of choices, or low and high, with
            step or log where wanted, whole numbers if both are whole; null: not searched.

    Raises:
        UserError: a key does not exist, or its values are none.
    """

    def __init__(self, cfg: DictConfig, space: DictConfig) -> None:
        self.cfg = cfg
        leaves = dict(walk(OmegaConf.to_container(space, resolve=True)))
        self.distributions = {
            key: distribution(key, value) for key, value in leaves.items() if value is not None
        }
        if not self.distributions:
            raise UserError("space is empty; choose one, such as search=blocks")
        for key in self.distributions:
            if OmegaConf.select(cfg, key, default=ABSENT) is ABSENT:
                near = difflib.get_close_matches(key, flatten(cfg), n=1)
                hint = f"did you mean {near[0]}?" if near else "see --cfg job for all keys"
                raise UserError(f"space: there is no key {key} in the configuration; {hint}")
        # Hydra would take longer to read the network's part than the network takes to build
        self.model = OmegaConf.to_container(cfg.model, resolve=True)
        nested = "_target_" in str(list(self.model.values()))
        self.make = instantiate if nested else get_object(self.model.pop("_target_"))

    def start(self) -> Params | None:
        """The values that the configuration has already, if they are of the space and can
        be trained: a first trial to do better than."""
        params = {key: OmegaConf.select(self.cfg, key) for key in self.distributions}
        for key, values in self.distributions.items():
            try:
                if not values._contains(values.to_internal_repr(params[key])):
                    return None
            except (ValueError, TypeError):
                return None
        return None if self.objection(params) or self.refusal(params) else params

    def configure(self, params: Params) -> DictConfig:
        """The configuration with values for all keys of the space."""
        cfg = self.cfg.copy()
        for key, value in params.items():
            OmegaConf.update(cfg, key, value)
        return cfg

    def objection(self, params: Params) -> str | None:
        """Why these values cannot be trained, in words: over budget, or no network at all."""
        model = copy.deepcopy(self.model)
        for key, value in params.items():
            if key.startswith("model."):
                put(model, key.split(".")[1:], value)
        try:
            with torch.device("meta"):  # shapes alone: nothing is computed
                network = self.make(**model)
            exceeded = exceeded_limits(network, self.cfg)
        except Exception as error:
            cause = error.__cause__ or error
            if not isinstance(cause, ValueError | UserError):
                raise
            return f"model: {' '.join(str(cause).split())}"
        return "; ".join(exceeded) or None

    def refusal(self, params: Params) -> str | None:
        """The same for the recipe: a value that the optimizer or its schedule refuses."""
        try:
            rehearse(self.configure(params))
        except (UserError, OmegaConfBaseException) as error:
            return str(error)
        return None


def put(tree: Any, path: list[str], value: Any) -> None:
    """Set a leaf of nested dictionaries and lists."""
    for name in path[:-1]:
        tree = tree[int(name) if isinstance(tree, list) else name]
    tree[int(path[-1]) if isinstance(tree, list) else path[-1]] = value


def walk(space: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted keys of a space with their values; the command line nests what it adds."""
    if isinstance(space, dict) and not RANGE & space.keys():
        for name, value in space.items():
            yield from walk(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, space


def distribution(key: str, plain: Any) -> BaseDistribution:
    """Optuna's distribution of what a key may be."""
    try:
        if isinstance(plain, list):
            return CategoricalDistribution(plain)
        if not isinstance(plain, dict) or not {"low", "high"} <= plain.keys() <= RANGE:
            raise ValueError("give a list of choices, or low and high")
        whole = type(plain["low"]) is type(plain["high"]) is int
        return (IntDistribution if whole else FloatDistribution)(**plain)
    except (ValueError, TypeError) as error:
        raise UserError(f"space.{key}: {' '.join(str(error).split())}; it is {plain}") from error
