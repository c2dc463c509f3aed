"""Fetch a published data set and verify its files.

python -m experiments.fetch data=mnist
python -m experiments.fetch data=fashion_mnist data.root=FOLDER
python -m experiments.fetch data=emnist data.split=letters
"""

from pathlib import Path

from omegaconf import DictConfig

from experiments.cli.program import program
from experiments.data.download import fetch


@program("train")
def main(cfg: DictConfig) -> None:
    fetch(cfg.data)
    if source := cfg.data.source:
        print(f"{Path(cfg.data.root, source.folder)}: all files are there, and intact")
    else:
        print("nothing to fetch: these images are read from data.root as they are")


if __name__ == "__main__":
    main()
