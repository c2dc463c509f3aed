"""Time what we do against what one would do otherwise, in turns, in one run.

python -m experiments.bench what=epoch rounds=3
python -m experiments.bench what=sweep rounds=1
python -m experiments.bench what=start rounds=3
python -m experiments.bench what=compare rounds=3
"""

from omegaconf import DictConfig, OmegaConf

from experiments.benchmarks.results import keep, show
from experiments.benchmarks.rounds import summary, take_turns
from experiments.cli.config import require_int
from experiments.cli.errors import UserError
from experiments.cli.program import program


@program("bench")
def main(cfg: DictConfig) -> None:
    from experiments.benchmarks import contenders

    OmegaConf.resolve(cfg)  # now: a contender's MLflow changes the environment
    benches = {
        "epoch": contenders.epoch,
        "sweep": contenders.sweep,
        "start": contenders.start,
        "compare": contenders.compare,
    }
    if cfg.what not in benches:
        raise UserError(f"what={cfg.what} does not exist; choose one of {', '.join(benches)}")
    turns = take_turns(benches[cfg.what](cfg), require_int(cfg, "rounds", 1))
    rows = [summary(name, turns) for name in turns]
    show(rows)
    keep(cfg, rows, turns)


if __name__ == "__main__":
    main()
