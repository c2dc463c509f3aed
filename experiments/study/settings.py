"""The settings of a search: their ranges, what trials inherit, what a study keeps to the end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from hydra import compose
from omegaconf import DictConfig, OmegaConf

from experiments.cli.config import require_int, require_number
from experiments.cli.errors import UserError
from experiments.cli.keys import JUDGEMENT, RESULT, select

if TYPE_CHECKING:  # so that a value out of range is refused before torch is imported
    from optuna import Study

    from experiments.study.space import Space

SETTINGS = "settings"  # an attribute of a study


def check(cfg: DictConfig) -> None:
    """Raises UserError where a value is out of range."""
    for key, minimum in (
        ("trials", 1),
        ("worker", 0),
        ("final.networks", 0),
        ("final.seeds", 1),
        ("final.max_epochs", 1),
        ("data.holdout", 1),
    ):
        require_int(cfg, key, minimum)
    if cfg.smallest_above is not None:
        require_number(cfg, "smallest_above", above=0, to=1)
    if any(value is not None for value in cfg.fused.values()):
        raise UserError("fused is for experiments.train; a search tries one network at a time")


def trial_settings(cfg: DictConfig) -> DictConfig:
    """What all trials have in common: a configuration of experiments.train."""
    base = OmegaConf.masked_copy(cfg, list(compose("train")))
    base.step = base.experiment = None  # a trial is no evidence for either
    return base


def begin_or_resume(study: Study, cfg: DictConfig, space: Space) -> None:
    """Begin a new study with the configuration's own values as its first trial.

    Raises:
        UserError: the study was begun before, with another space, data, schedule or budget.
    """
    kept = select(space.cfg, RESULT, JUDGEMENT)
    settings = {key: value for key, value in kept.items() if value is not None}
    settings |= {f"space.{key}": repr(d) for key, d in space.distributions.items()}
    settings["smallest_above"] = cfg.smallest_above
    settings = json.loads(json.dumps(settings))  # as the storage gives them back
    before = study.user_attrs.get(SETTINGS)
    if before is None:
        if start := space.start():
            study.enqueue_trial(start, skip_if_exists=True)
        study.set_user_attr(SETTINGS, settings)
        return
    for key in sorted(before.keys() | settings.keys()):
        if before.get(key) != settings.get(key):
            raise UserError(
                f"the study {study.study_name} was begun with {key}={before.get(key)}, which is "
                f"now {settings.get(key)}: give the new one a name of its own, study=NAME"
            )
