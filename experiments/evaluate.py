"""Score a trained network on other images, and keep the figures in MLflow beside its run.

python -m experiments.evaluate run=ID data=qmnist split=test
"""

from pathlib import Path

from omegaconf import DictConfig

from experiments.cli.errors import UserError
from experiments.cli.program import program
from experiments.cli.text import percent


@program("evaluate")
def main(cfg: DictConfig) -> None:
    if cfg.run is None:
        raise UserError("give run=ID, of a run or a registered model, or run=best")
    from experiments.data.images import load as load_images
    from experiments.deployment.evaluate import check, evaluate, log_evaluation
    from experiments.deployment.find import credit, find
    from experiments.deployment.load import load
    from experiments.tracking.store import Store, answered

    store = Store(cfg.tracking, create=False)
    run = find(store, cfg.run, cfg.where)
    trained = load(store, run, Path(cfg.checkpoints.root))
    check(trained, cfg.data)
    data, digest = load_images(cfg)
    images = {"train": data.train, "val": data.val, "test": data.test or data.val}[cfg.split]
    figures = evaluate(trained, images, cfg.data.eval_batch_size)
    with answered(store):
        logged = log_evaluation(store, run, cfg, digest, figures)
    right, loss = percent(figures["test/acc"]), figures["test/loss"]
    print(f"{right} of {len(images.labels):,} images right, loss {loss:.4f}: {store.url(logged)}")
    print(credit(store, run))


if __name__ == "__main__":
    main()
