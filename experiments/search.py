"""Search for a network within a budget: many short trials, then the best few in full.

python -m experiments.search budget.parameters=5000
"""

import re

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments.cli.config import require_int, require_number
from experiments.cli.errors import UserError, refuse_password
from experiments.cli.jobs import announce
from experiments.cli.program import program

SMALLEST = {
    "trials": 1,
    "worker": 0,
    "final.networks": 0,
    "final.seeds": 1,
    "final.max_epochs": 1,
    "data.holdout": 1,
}


@program("search")
def main(cfg: DictConfig) -> str:
    """One worker: takes part in the trials, then in the finals, until all are finished."""
    announce(name=f"worker {cfg.worker}")
    refuse_password(cfg)
    for key, minimum in SMALLEST.items():
        require_int(cfg, key, minimum)
    if cfg.smallest_above is not None:
        require_number(cfg, "smallest_above", above=0, to=1)
    if any(value is not None for value in cfg.fused.values()):
        raise UserError("fused is for experiments.train; a search tries one network at a time")
    name = str(cfg.study or HydraConfig.get().runtime.choices.search)
    if not re.fullmatch(r"[\w.-]+", name):
        raise UserError(f"study={name}: give letters, digits, and any of ._- only")

    from experiments.study import storage  # not before: torch and MLflow take seconds
    from experiments.study.worker import Worker
    from experiments.training.resume import explained

    with explained(cfg.checkpoints.root), storage.explained(str(cfg.storage)):
        worker = Worker(cfg, name)
        worker.work()
        worker.finish()
    return "searched"


if __name__ == "__main__":
    main()
