"""Time our training beside other ways to train, in turns.

python -m experiments.bench what=epoch rounds=3
python -m experiments.bench what=epoch step=s09 batches=100
python -m experiments.bench what=start
"""

import tempfile

from omegaconf import DictConfig, OmegaConf

from experiments.cli.program import program
from experiments.tracking.identity import prepared


@program("bench")
def main(cfg: DictConfig) -> None:
    from experiments.benchmarks import contenders  # torch and MLflow: seconds

    benches = {"epoch": contenders.epoch, "start": contenders.start}
    OmegaConf.resolve(cfg)  # now: a contender's MLflow changes the environment
    cfg = prepared(cfg)
    with tempfile.TemporaryDirectory() as folder:
        inside = cfg.copy()
        inside.checkpoints.root = folder
        inside.tracking.uri = f"sqlite:///{folder}/mlflow.db"
        inside.tracking.artifacts = f"{folder}/artifacts"
        turns = contenders.take_turns(benches[cfg.what](inside), cfg.rounds)
    contenders.keep(cfg, turns)


if __name__ == "__main__":
    main()
