"""Search for a network: many short runs, full runs of the likeliest, a verdict on the best few.

python -m experiments.search budget.parameters=5000
python -m experiments.search smallest_above=0.994 trials=50 study=small  # the same again resumes it
python -m experiments.search -m 'worker=range(4)' launcher=local         # four share one study
"""

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments.cli.errors import UserError
from experiments.cli.jobs import announce, is_job
from experiments.cli.program import program
from experiments.study import plan
from experiments.tracking.identity import refuse_part
from experiments.training.grid import is_fused


def begin(cfg: DictConfig) -> None:
    """Say what one worker does; of several, their sweep says it."""
    announce(name=f"worker {cfg.worker}", state="running", race=0)
    if is_fused(cfg):
        raise UserError("fused is for experiments.train; a search tries one network at a time")
    if cfg.force or cfg.until_verdict is not None:
        raise UserError("force and until_verdict are for experiments.train; leave them out")
    refuse_part(cfg)
    if not is_job():
        plan.print_plan(cfg, plan.study_name(cfg, HydraConfig.get()))


@program("search", sweep=True, first=begin)
def main(cfg: DictConfig) -> str:
    """One worker: takes part in the race until it is over."""
    from experiments.study import storage, worker  # torch and MLflow take seconds
    from experiments.training.resume import training_errors

    with training_errors(cfg.checkpoints.root), storage.storage_errors(str(cfg.storage)):
        one = worker.Worker(cfg, plan.study_name(cfg, HydraConfig.get()))
        with one.parent:
            try:
                one.work()
            except KeyboardInterrupt:  # says what becomes of the one run
                raise KeyboardInterrupt("; the same command goes on with the search") from None
            one.finish()
    return "searched"


if __name__ == "__main__":
    main()
