"""Time our training beside what people run instead, in turns, in one run.

python -m experiments.bench what=epoch rounds=3
python -m experiments.bench what=sweep rounds=1
python -m experiments.bench what=start rounds=3
python -m experiments.bench what=compare rounds=3
"""

import tempfile
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from experiments.benchmarks.rounds import summary, take_turns
from experiments.cli.config import require_int
from experiments.cli.errors import UserError
from experiments.cli.program import program

BENCHES = ("epoch", "sweep", "start", "compare")


@program("bench")
def main(cfg: DictConfig) -> None:
    if cfg.what not in BENCHES:
        raise UserError(f"what={cfg.what} does not exist; choose one of {', '.join(BENCHES)}")
    rounds = require_int(cfg, "rounds", 1)
    OmegaConf.resolve(cfg)  # now: a contender's MLflow changes the environment
    from experiments.benchmarks import commands, epoch, results  # torch and MLflow: seconds
    from experiments.tracking.identity import identified

    cfg = identified(cfg)
    contenders = {
        "epoch": epoch.epoch,
        "sweep": commands.sweep,
        "start": commands.start,
        "compare": commands.compare,
    }[cfg.what]
    with tempfile.TemporaryDirectory() as folder:
        turns = take_turns(contenders(cfg, Path(folder)), rounds)
    rows = [summary(name, turns) for name in turns]
    results.show(rows)
    results.keep(cfg, rows, turns)


if __name__ == "__main__":
    main()
