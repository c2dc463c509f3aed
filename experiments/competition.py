"""Make the files of the Digit Recognizer competition from MNIST.

python -m experiments.competition
python -m experiments.competition root=FOLDER rows=30000
python -m experiments.competition seed=1

The competition splits MNIST's 70,000 digits anew; so do we, with a seed, and keep the truth:
truth.csv has the images of test.csv with their labels.
"""

from omegaconf import DictConfig

from experiments.cli.program import program


@program("competition")
def main(cfg: DictConfig) -> None:
    from experiments.data.competition_files import make  # torch: seconds

    make(cfg)


if __name__ == "__main__":
    main()
