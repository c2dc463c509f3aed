"""The runs that a configuration asks for: one, or all combinations of the values in `fused`."""

import itertools
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from experiments.cli.errors import UserError

KEYS = {"lr": "optimizer.lr", "dropout": "model.dropout", "seed": "seed"}


def is_fused(cfg: DictConfig) -> bool:
    """Whether several runs are to be trained as one program."""
    return any(values is not None for values in cfg.fused.values())


def expand(cfg: DictConfig) -> list[DictConfig]:
    """The configuration of each run.

    Raises:
        UserError: values in `fused` that cannot be trained together.
    """
    values = {name: _values(cfg, name) for name in KEYS}
    if 0 in values["dropout"]:
        raise UserError("fused.dropout: a network without dropout is another one; leave 0 out")
    runs = []
    for combination in itertools.product(*values.values()):
        run = cfg.copy()
        run.fused = dict.fromkeys(KEYS)
        for name, value in zip(KEYS, combination, strict=True):
            if value is not None:
                OmegaConf.update(run, KEYS[name], value)
                if name != "seed":
                    run.name = f"{run.name}, {KEYS[name]}={value}"
        runs.append(run)
    return runs


def _values(cfg: DictConfig, name: str) -> list[Any]:
    """The values of one key; [None] where it is not varied."""
    given = cfg.fused[name]
    if given is None:
        return [None]
    if isinstance(given, ListConfig) and given and len(set(given)) == len(given):
        return list(given)
    if name == "seed" and type(given) is int and given > 0:
        return list(range(cfg.seed, cfg.seed + given))
    number = " or a number of seeds" if name == "seed" else ""
    raise UserError(f"fused.{name} must be a list of different values{number}, not {given}")
