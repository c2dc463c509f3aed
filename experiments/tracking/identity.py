"""Which run a configuration describes: a hash of all that its result depends on."""

import hashlib
import json
import re
from collections.abc import Iterable

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments.cli.config import flatten

# What says where a run happens, how it is judged or how it is shown does not change its result.
ELSEWHERE = (
    "budget.",
    "checkpoints.",
    "compile",
    "description",
    "force",
    "name",
    "point",
    "published",
    "target.",
    "tracking.",
    "why",
    "data.eval_batch_size",
    "data.root",
    "data.source.",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
)


def config_hash(cfg: DictConfig, seed: bool = True) -> str:
    """Twelve hexadecimal digits, equal for equal experiments with equal seeds, or with any."""
    ignored = ELSEWHERE if seed else (*ELSEWHERE, "seed")
    kept = {
        key: value
        for key, value in flatten(cfg).items()
        if value is not None and not key.startswith(ignored)  # a key that is new keeps old hashes
    }
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


def name_experiment(step: str | None, experiment: str | None, overrides: Iterable[str]) -> str:
    """What a person calls an experiment: "step 13, optimizer.lr=0.03".

    Args:
        step, experiment: the names of the files that describe it, if any.
        overrides: key=value, of which those are named that change the result.
    """
    name = step or experiment or "custom"
    if re.fullmatch(r"s\d+", name):
        name = f"step {int(name[1:])}"
    unnamed = (key for key in ELSEWHERE if key != "point")
    ignored = (*unnamed, "fused.", "step=", "experiment=", "seed=", "launcher=", "hydra", "name=")
    changes = (change.lstrip("+") for change in overrides)
    return ", ".join((name, *(change for change in changes if not change.startswith(ignored))))


def run_name(cfg: DictConfig) -> str:
    """What a person calls one run of it: "step 13, seed 2"."""
    return f"{cfg.name}, seed {cfg.seed}"


def identified(cfg: DictConfig) -> DictConfig:
    """The configuration, with what Hydra alone knows of it: what was chosen, and its name."""
    hydra = HydraConfig.get()
    cfg.step, cfg.experiment = hydra.runtime.choices.step, hydra.runtime.choices.experiment
    cfg.name = cfg.name or name_experiment(cfg.step, cfg.experiment, hydra.overrides.task)
    return cfg
