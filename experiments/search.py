"""Search for a network within a budget: many short trials, then the best few in full.

python -m experiments.search budget.parameters=5000
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from experiments.cli.config import build, number, whole
from experiments.cli.errors import UserError, refuse_password
from experiments.cli.jobs import announce
from experiments.cli.program import program

if TYPE_CHECKING:
    from experiments.study.space import Space


@program("search")
def main(cfg: DictConfig) -> str:
    """One worker: takes part in the trials, then in the finals, until all of them are done."""
    announce(name=f"worker {cfg.worker}")
    refuse_password(cfg)
    check(cfg)
    name = cfg.study or HydraConfig.get().runtime.choices.search
    if not re.fullmatch(r"[\w.-]+", str(name)):
        raise UserError(f"study={name}: give letters, digits, and any of ._- only")

    from experiments.study import storage
    from experiments.study.space import Space
    from experiments.study.worker import Worker
    from experiments.training.resume import explained

    base = trial_base(cfg)
    space = Space(base, cfg.space)
    rehearse(cfg, space)
    with explained(base.checkpoints.root), storage.explained(str(cfg.storage)):
        worker = Worker(cfg, base, str(name), space)
        worker.work()
        worker.finish()
    return "searched"


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
        whole(cfg, key, minimum)
    if cfg.smallest_above is not None:
        number(cfg, "smallest_above", above=0, to=1)
    if any(value is not None for value in cfg.fused.values()):
        raise UserError("fused is for experiments.train; a search tries one network at a time")


def rehearse(cfg: DictConfig, space: Space) -> None:
    """Go through a study in memory, to learn now of values that sampler or pruner refuse.

    Raises:
        UserError: such a value.
    """
    import optuna

    sampler, pruner = build(cfg, "sampler", seed=0), build(cfg, "pruner")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruner)
    try:
        for _ in range(3):
            trial = study.ask(space.distributions)
            trial.report(0.5, step=1)
            trial.should_prune()
            study.tell(trial, 0.5)
    except (TypeError, ValueError) as error:
        raise UserError(f"sampler or pruner: {' '.join(str(error).split())}") from error


def trial_base(cfg: DictConfig) -> DictConfig:
    """What all trials have in common: a configuration of experiments.train.

    Raises:
        UserError: a value is out of range.
    """
    from experiments.budget.network import design

    base = OmegaConf.masked_copy(cfg, [key for key in cfg if key in compose("train")])
    base.step = base.experiment = None  # a trial is no evidence for either
    design(base)
    return base


if __name__ == "__main__":
    main()
