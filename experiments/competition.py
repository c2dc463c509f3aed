"""Make the files of the Digit Recognizer competition from MNIST, and score a submission.

python -m experiments.competition
python -m experiments.competition root=FOLDER rows=30000
python -m experiments.competition submission=submission.csv

The competition splits MNIST's 70,000 digits anew; so do we, with a seed, and keep the truth.
"""

from pathlib import Path

from omegaconf import DictConfig

from experiments.cli.program import program
from experiments.data.submission import TRUTH, score


@program("competition")
def main(cfg: DictConfig) -> None:
    if cfg.submission is None:
        from experiments.data.competition_files import make  # torch is not needed for a score

        make(cfg)
    else:
        accuracy, images = score(Path(cfg.submission), Path(cfg.root, TRUTH))
        print(f"{accuracy * 100:.3f} % of {images:,} right")


if __name__ == "__main__":
    main()
