"""Score a trained network on other images, and keep the scores in MLflow beside its run.

python -m experiments.evaluate run=ID data=qmnist split=test
python -m experiments.evaluate run=best data=fashion_mnist
python -m experiments.evaluate run=digits@champion data=idx data.root=FOLDER split=test
"""

from omegaconf import DictConfig

from experiments.cli import tables
from experiments.cli.errors import UserError
from experiments.cli.program import program


@program("evaluate")
def main(cfg: DictConfig) -> None:
    if cfg.run is None:
        raise UserError("give run=ID, of a run or a registered model, or run=best")
    from experiments.deployment.evaluation import evaluate  # torch and MLflow: seconds

    for line in evaluate(cfg):
        tables.say(line)


if __name__ == "__main__":
    main()
