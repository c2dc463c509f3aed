"""What a configuration is in the store: its identity, its name, and whether it is evidence."""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from experiments.cli.compose import compose, groups
from experiments.cli.config import LABEL, RESULT
from experiments.cli.errors import UserError
from experiments.cli.keys import LIMITS, key_of, kind, plain, select

CONFIG_HASH, DIGEST = "config_hash", "data.digest"  # tags
PARTIAL = "partial"  # a tag: what limits the run to part of its data
NAMED = ("step", "experiment", "seed")  # what a name has besides its overrides
PART = " (part of the data)"  # at the end of a name
OVERRIDE = r", (?=[\w.+/@]+=)"  # what stands before each override of a name


def config_hash(cfg: DictConfig, seed: bool = True) -> str:
    """Twelve hexadecimal digits, equal for equal experiments; without `seed`, for all seeds."""
    # a key that is added later, as null, does not change old hashes
    result = {key: value for key, value in select(cfg, RESULT).items() if value is not None}
    if not seed:
        del result["seed"]
    if part_of_data(cfg):  # a number of batches is one of images only with their size
        result["data.eval_batch_size"] = cfg.data.eval_batch_size
    return hashlib.sha256(json.dumps(result, sort_keys=True).encode()).hexdigest()[:12]


def identity(cfg: DictConfig, digest: str, seed: bool = True) -> dict[str, str]:
    """The tags that identify a run: the hash of its configuration, and the digest of its images."""
    return {CONFIG_HASH: config_hash(cfg, seed), DIGEST: digest}


def is_setting(key: str) -> bool:
    """Whether a key tells the arms of a step apart: it changes the result, and is no name."""
    return kind(key) is RESULT and key not in NAMED


def run_name(cfg: DictConfig, together: int = 1) -> str:
    """What people call one run of it, or several fused ones: "step 13, seed 2, optimizer.lr=1".
    The seed comes early, as lists of runs show the beginning of a name."""
    return with_seed(cfg.name, f"seed {cfg.seed}" if together == 1 else f"{together} runs")


def with_seed(name: str, seed: str) -> str:
    """The name of an arm with a seed ahead of its overrides."""
    first, *overrides = re.split(OVERRIDE, name.removesuffix(PART))
    return ", ".join([first, seed, *overrides]) + PART * name.endswith(PART)


def changed(cfg: DictConfig) -> str:
    """What differs from the step's file; or, where nothing does, what the file says of itself."""
    overrides = re.split(OVERRIDE, (cfg.name or "").removesuffix(PART))[1:]
    return ", ".join(overrides) or cfg.description or ""


def with_override(name: str, override: str) -> str:
    """The name of an arm with one more override, in their order; the only one of its key."""
    first, *overrides = re.split(OVERRIDE, name.removesuffix(PART))
    overrides = [each for each in overrides if key_of(each) != key_of(override)]
    return ", ".join([first, *sorted([*overrides, override])]) + PART * name.endswith(PART)


def prepared(cfg: DictConfig) -> DictConfig:
    """The configuration with a name, which is made from the command line if none is given.

    The limits for which `fast_dev_run` stands take its place: Lightning's own would leave no
    checkpoint and no log; so, everything of a run is tried.
    """
    hydra = HydraConfig.get()
    cfg.name = cfg.name or name_experiment(cfg, hydra.job.config_name, hydra.overrides.task)
    if batches := int(cfg.trainer.get("fast_dev_run") or 0):
        with open_dict(cfg):
            del cfg.trainer["fast_dev_run"]
            limits = {"limit_train_batches": batches, "limit_val_batches": batches}
            cfg.trainer.update(max_epochs=1, **limits)
    if part_of_data(cfg):
        cfg.name += PART
    return cfg


def name_experiment(cfg: DictConfig, command: str, overrides: Sequence[str]) -> str:
    """What people call an experiment: "step 13, optimizer.lr=0.03".

    The name has what differs from the step's file: in one order, and written in one way,
    whatever was typed.
    """
    name = called(cfg.step) if cfg.step else cfg.experiment or "custom"
    typed = {key_of(item): item for item in overrides}
    changed = [key for key in typed if key == "point" or is_setting(key)]
    own = compose(command, [typed[key] for key in NAMED if key in typed]) if changed else cfg
    files = groups()
    for key in sorted(changed):
        if _part(cfg, key) != _part(own, key):
            choice = typed[key].partition("=")[2] or "null"
            name += f", {key}={choice if key in files else _shown(OmegaConf.select(cfg, key))}"
    return name


def step_number(step: str) -> int | None:
    """The number of a step, by its file or its name: 9 of "s09" and of "step 9"; None: no number.
    Numbered steps are a ladder: each is compared with the one before."""
    found = re.fullmatch(r"s(?:tep )?(\d+)", step)
    return int(found[1]) if found else None


def called(name: str) -> str:
    """A name as those of arms are: "step 9, seed=1" of "s09, seed=1", of "step=9, seed=1"."""
    first, *overrides = re.sub("^(step|experiment)=", "", name).split(", ")
    number = step_number(first)
    return ", ".join([first if number is None else f"step {number}", *overrides])


def _part(cfg: DictConfig, key: str) -> dict[str, Any]:
    values = select(cfg, RESULT, LABEL)
    return {each: values[each] for each in values if each == key or each.startswith(f"{key}.")}


def _shown(value: Any) -> str:
    """A value in the one way in which names have it: 1 and 1.0 alike, lists without spaces."""
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value, resolve=True)
    return value if isinstance(value, str) else json.dumps(plain(value), separators=(",", ":"))


def part_of_data(cfg: DictConfig) -> str | None:
    """What limits a run to part of its data, such as "limit_val_batches=1"; None: nothing."""
    given = {key.partition(".")[2]: OmegaConf.select(cfg, key) for key in LIMITS}
    # 1 is one batch, and 1.0 all of them
    limits = (f"{key}={x}" for key, x in given.items() if x and not (x == 1 and type(x) is float))
    return ", ".join(limits) or None


def refuse_part(cfg: DictConfig) -> None:
    """Raise a UserError for a run on part of its data, where evidence is asked for."""
    if part := part_of_data(cfg):
        raise UserError(f"runs on part of their data are no evidence; leave out trainer.{part}")
