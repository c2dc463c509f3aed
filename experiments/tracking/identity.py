"""Which run a configuration describes: a hash of everything that changes the result."""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from experiments.cli.compose import compose, groups
from experiments.cli.config import LABEL, RESULT
from experiments.cli.keys import key_of, kind, select
from experiments.tracking.part_of_data import expand_fast_dev_run

CONFIG_HASH, DIGEST = "config_hash", "data.digest"  # tags
FILES = ("step", "experiment", "seed")  # what a name begins or ends with


def config_hash(cfg: DictConfig, seed: bool = True) -> str:
    """Twelve hexadecimal digits, equal for equal experiments; without `seed`, for all seeds."""
    result = select(cfg, RESULT)
    if not seed:
        del result["seed"]
    # a key that is added later, as null, does not change old hashes
    result = {key: value for key, value in result.items() if value is not None}
    return hashlib.sha256(json.dumps(result, sort_keys=True).encode()).hexdigest()[:12]


def identity(cfg: DictConfig, digest: str, seed: bool = True) -> dict[str, str]:
    """The tags that identify a run: the hash of its configuration, and the digest of its images."""
    return {CONFIG_HASH: config_hash(cfg, seed), DIGEST: digest}


def run_name(cfg: DictConfig) -> str:
    """What people call one run of it: "step 13, seed 2"."""
    return f"{cfg.name}, seed {cfg.seed}"


def identified(cfg: DictConfig) -> DictConfig:
    """The configuration with a name, which is made from the command line if none is given."""
    hydra = HydraConfig.get()
    cfg.name = cfg.name or name_experiment(cfg, hydra.job.config_name, hydra.overrides.task)
    expand_fast_dev_run(cfg)
    return cfg


def name_experiment(cfg: DictConfig, command: str, overrides: Sequence[str]) -> str:
    """What people call an experiment: "step 13, optimizer.lr=0.03".

    The name has what differs from the step's file: in one order, and written in one way,
    whatever was typed.
    """
    name = cfg.step or cfg.experiment or "custom"
    if re.fullmatch(r"s\d+", name):
        name = f"step {int(name[1:])}"
    typed = {key_of(item): item for item in overrides}
    changed = sorted(
        key for key in typed if key == "point" or (kind(key) == RESULT and key not in FILES)
    )
    if changed:
        own = compose(command, [typed[key] for key in FILES if key in typed])
        changed = [key for key in changed if part(cfg, key) != part(own, key)]
    files = groups()
    for key in changed:
        choice = typed[key].partition("=")[2] or "null"
        name += f", {key}={choice if key in files else shown(OmegaConf.select(cfg, key))}"
    return name


def part(cfg: DictConfig, key: str) -> dict[str, Any]:
    """What a key of a configuration contributes to its identity."""
    values = select(cfg, RESULT, LABEL)
    return {each: values[each] for each in values if each == key or each.startswith(f"{key}.")}


def shown(value: Any) -> str:
    """A value in the one way in which names have it: 0.02 and 2e-2 alike, lists without spaces."""
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value, resolve=True)
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"))
