"""What a search found, as step files, and the runs of `experiments.train` with these."""

import os
from pathlib import Path

import yaml
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from experiments.budget.network import build_networks
from experiments.cli.compose import CONF, search_path
from experiments.cli.config import JUDGEMENT, PLACE, RESULT
from experiments.cli.errors import UserError
from experiments.cli.files import write
from experiments.cli.jobs import announce
from experiments.cli.keys import key_of, kind, select
from experiments.tracking.identity import run_name
from experiments.training.fit import train
from experiments.training.resume import Training

NOT_A_STEP = ("step", "experiment", "seed", "launcher")  # groups and keys that it does not hold


def step_of(path: Path) -> str:
    """The value of step= that names a file. UserError: step= is not looked for there."""
    sources = HydraConfig.get().runtime.config_sources
    tops = [Path(one.path, "step").resolve() for one in sources if one.schema == "file"]
    for top in tops:
        if path.resolve().is_relative_to(top):
            return path.resolve().relative_to(top).with_suffix("").as_posix()
    where = " or ".join(map(str, tops))
    raise UserError(
        f"final.steps={path.parent}: steps are read from {where}; name a folder there, such as "
        f"final.steps={tops[0] / 'found'}"
    )


def refuse_folder(folder: Path, study: str, identifier: str) -> None:
    """Raise UserError where a study's steps cannot be in a folder, or those of another one are."""
    step_of(folder / study)
    for path in folder.glob("*.yaml"):
        if path.stem.rpartition("-")[0] == study:
            refuse_foreign(path, identifier)


def refuse_foreign(path: Path, identifier: str) -> None:
    """Raise UserError where a step file is there that is not of the study with this id."""
    if path.exists() and identifier.encode() not in path.read_bytes():
        raise UserError(
            f"{path}: was not written by this study, and is not overwritten: move it away, or "
            "give the study a name of its own, study=NAME"
        )


def write_step(cfg: DictConfig, found: str, path: Path) -> str:
    """Write a step that trains a network on all training images, with its data and target, and one
    line on how it was `found`; its name."""
    cfg = cfg.copy()
    cfg.data.holdout = None
    usual = compose("train", return_hydra_config=True).hydra.runtime.choices
    groups = {
        group: choice
        for group, choice in HydraConfig.get().runtime.choices.items()
        if choice != usual.get(group, choice) and "/" not in group and group not in NOT_A_STEP
    }
    chosen = [*(f"{group}={name}" for group, name in groups.items()), *search_path()]
    theirs = compose("train", overrides=chosen)
    before = select(theirs, RESULT, JUDGEMENT) | {"data.root": theirs.data.root}
    after = select(cfg, RESULT, JUDGEMENT) | {"data.root": cfg.data.root}
    changes = OmegaConf.create()
    for key, value in after.items():
        if key not in NOT_A_STEP and (key, value) not in before.items():
            OmegaConf.update(changes, key, value)
    plain = OmegaConf.to_container(changes)
    schema = os.path.relpath(CONF / "step.schema.json", path.parent)
    lines = (
        "# @package _global_",
        f"# yaml-language-server: $schema={schema}",
        f"# {found}",
        "defaults:",
        *(f"  - override /{group}: {name}" for group, name in groups.items()),
        "  - _self_",
        "",
        f"description: {cfg.description}",
        yaml.safe_dump(plain, sort_keys=False, default_flow_style=None, width=98),
    )
    write(path, "\n".join(lines))
    return step_of(path)


def train_step(step: str, seed: int) -> Training:
    """Train the run of `python -m experiments.train step=... seed=...` in this place, unless it
    was trained before."""
    cfg = step_config(step, seed)
    announce(name=run_name(cfg))
    _, _, [training] = train([cfg], *build_networks([cfg]))
    return training


def step_config(step: str, seed: int) -> DictConfig:
    """The configuration of a run of a step, in the places and by the launcher of this search."""
    known = compose("train")
    here = [
        item
        for item in HydraConfig.get().overrides.task
        if (key := key_of(item)) == "launcher"  # it may say on which device
        or (kind(key) == PLACE and key.split(".")[0] in known and key != "force")
    ]
    cfg = compose("train", overrides=[f"step={step}", f"seed={seed}", *here, *search_path()])
    cfg.step = cfg.name = step
    return cfg
