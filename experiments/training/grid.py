"""The runs that a configuration asks for: one, or all combinations of the values in `fused`."""

import itertools
from collections.abc import Iterable
from typing import Any

from omegaconf import DictConfig, OmegaConf

from experiments.cli.errors import UserError
from experiments.tracking.identity import with_override

KEYS = {"lr": "optimizer.lr", "dropout": "model.dropout", "seed": "seed"}


def is_fused(cfg: DictConfig) -> bool:
    """Whether several runs are to be fused: trained as one."""
    return any(values is not None for values in cfg.fused.values())


def expand(cfg: DictConfig) -> list[DictConfig]:
    """The configuration of each run. UserError: they cannot be trained together."""
    varied = {name: _values(cfg, name) for name in KEYS if cfg.fused[name] is not None}
    if not varied:
        return [cfg]
    if cfg.trainer.precision != "32-true":
        raise UserError(
            f"fused trains in 32-true, not in {cfg.trainer.precision}: PyTorch has no BatchNorm of "
            "stacked networks in fewer bits; train them one by one"
        )
    if cfg.trainer.get("callbacks"):
        raise UserError("fused: trainer.callbacks would act on all runs at once; leave either out")
    if (cfg.loss or {}).get("teacher"):
        raise UserError("fused: loss.teacher would see the images of one run; leave either out")
    if 0 in varied.get("dropout", ()):
        raise UserError("fused.dropout: a network without dropout is another one; leave 0 out")
    runs = []
    for values in itertools.product(*varied.values()):
        run = cfg.copy()
        run.fused = dict.fromkeys(KEYS)
        for name, value in zip(varied, values, strict=True):
            OmegaConf.update(run, KEYS[name], value)
            if name != "seed":
                run.name = with_override(run.name, f"{KEYS[name]}={value}")
        runs.append(run)
    return runs


def _values(cfg: DictConfig, name: str) -> Iterable[Any]:
    """The values of a key of `fused`, each once; a number of seeds means those from `seed` on."""
    given = cfg.fused[name]
    return range(cfg.seed, cfg.seed + given) if isinstance(given, int) else dict.fromkeys(given)
