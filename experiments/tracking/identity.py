"""Which run a configuration describes: a hash of everything that changes the result."""

import hashlib
import json
import re
from collections.abc import Iterable

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments.cli.keys import RESULT, key_of, kind, select


def config_hash(cfg: DictConfig, seed: bool = True) -> str:
    """Twelve hexadecimal digits, equal for equal experiments; without `seed`, for all seeds."""
    result = select(cfg, RESULT)
    if not seed:
        del result["seed"]
    # a key that is added later, as null, does not change old hashes
    result = {key: value for key, value in result.items() if value is not None}
    return hashlib.sha256(json.dumps(result, sort_keys=True).encode()).hexdigest()[:12]


def name_experiment(step: str | None, experiment: str | None, overrides: Iterable[str]) -> str:
    """What people call an experiment: "step 13, optimizer.lr=0.03".

    Of the overrides, key=value, those that change the result become part of the name.
    """
    name = step or experiment or "custom"
    if re.fullmatch(r"s\d+", name):
        name = f"step {int(name[1:])}"
    changes = [
        change.lstrip("+")
        for change in overrides
        if (key := key_of(change)) == "point"
        or (kind(key) == RESULT and key not in ("step", "experiment", "seed"))
    ]
    return ", ".join((name, *changes))


def run_name(cfg: DictConfig) -> str:
    """What people call one run of it: "step 13, seed 2"."""
    return f"{cfg.name}, seed {cfg.seed}"


def identified(cfg: DictConfig) -> DictConfig:
    """The configuration, completed by what only Hydra knows: the files chosen, and the name."""
    hydra = HydraConfig.get()
    cfg.step, cfg.experiment = hydra.runtime.choices.step, hydra.runtime.choices.experiment
    cfg.name = cfg.name or name_experiment(cfg.step, cfg.experiment, hydra.overrides.task)
    return cfg
