"""What a study keeps to the end, and whether its sampler can be used."""

import json
import uuid

import optuna
from omegaconf import DictConfig

from experiments.cli.config import JUDGEMENT, RESULT, build
from experiments.cli.errors import UserError, one_line
from experiments.cli.keys import select
from experiments.study.space import Space

SETTINGS, ID = "settings", "id"  # attributes of a study


def begin_or_resume(study: optuna.Study, cfg: DictConfig, space: Space, digest: str) -> None:
    """Begin a new study with the configuration's own values as its first trial.

    It gets an id, by which MLflow's runs and checkpoints are told from those of another study
    of its name.

    Raises:
        UserError: the study was begun before, with another space, data, schedule or budget.
    """
    kept = select(space.cfg, RESULT, JUDGEMENT)
    settings = {key: value for key, value in kept.items() if value is not None}
    settings |= {f"space.{key}": repr(d) for key, d in space.distributions.items()}
    settings |= {"smallest_above": cfg.smallest_above, "images": digest}
    settings |= {f"final.{key}": cfg.final[key] for key in ("networks", "seeds", "max_epochs")}
    settings = json.loads(json.dumps(settings))  # as the storage gives them back
    before = study.user_attrs.get(SETTINGS)
    if before is None:
        if space.start:
            study.enqueue_trial(space.start, skip_if_exists=True)
        study.set_user_attr(ID, uuid.uuid4().hex[:12])
        study.set_user_attr(SETTINGS, settings)
        return
    for key in sorted(before.keys() | settings.keys()):
        if before.get(key) != settings.get(key):
            raise UserError(
                f"the study {study.study_name} was begun with {key}={before.get(key)}, which is "
                f"now {settings.get(key)}: give the new one a name of its own, study=NAME"
            )


def try_sampler(cfg: DictConfig, space: Space) -> None:
    """Run a study in memory, without training. Raises UserError where the sampler fails."""
    study = optuna.create_study(direction="maximize", sampler=build(cfg, "sampler", seed=0))
    try:
        for _ in range(3):
            study.tell(study.ask(space.distributions), 0.5)
    except (TypeError, ValueError) as error:
        raise UserError(f"sampler: {one_line(error)}") from error
