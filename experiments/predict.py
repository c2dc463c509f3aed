"""Predict the classes of images with a trained network.

python -m experiments.predict run=ID input=FILE_OR_FOLDER
python -m experiments.predict run=best where="tags.experiment = 'dropout_mlp'" input=photo.jpg
python -m experiments.predict run=best input=test.csv output=submission.csv format=submission
"""

from pathlib import Path

from omegaconf import DictConfig

from experiments.cli import tables
from experiments.cli.errors import UserError
from experiments.cli.files import check_outputs, write
from experiments.cli.program import program
from experiments.deployment.image_files import SUFFIXES


@program("predict")
def main(cfg: DictConfig) -> None:
    check(cfg)
    from experiments.deployment import inference  # torch and MLflow: seconds
    from experiments.deployment.find import chosen_run, credit

    store, run, trained = chosen_run(cfg)
    names, images, labels = inference.read_input(Path(cfg.input), trained.data)
    probabilities = inference.predict_probabilities(trained, images, cfg.batch_size)
    if cfg.output is None:
        inference.print_predictions(names, probabilities)
    else:
        as_csv = {"full": inference.full, "submission": inference.submission}[cfg.format]
        write(Path(cfg.output), as_csv(names, probabilities))
        print(f"{cfg.output}: {len(names):,} images")
    if labels is not None:
        right = int((probabilities.argmax(1) == labels).sum())
        print(f"{right:,} of {len(labels):,} right, {right / len(labels) * 100:.2f} %")
    tables.say(credit(store, run))


def check(cfg: DictConfig) -> None:
    """Raise UserError where a key is missing or has an invalid value."""
    if cfg.run is None:
        raise UserError("give run=ID, of a run or a registered model, or run=best")
    if cfg.input is None:
        raise UserError("give input=FILE_OR_FOLDER: an image, a folder of images, or a CSV file")
    if not Path(cfg.input).exists():
        raise UserError(f"input={cfg.input}: there is no such file or folder")
    if cfg.output is None:
        return
    check_outputs(cfg.output, inputs=[cfg.input])
    output = Path(cfg.output)
    if not output.absolute().parent.is_dir():
        raise UserError(f"output={output}: is not the name of a file in a folder that exists")
    if output.suffix.lower() in SUFFIXES:  # it could be one of the images that are read
        raise UserError(f"output={output}: is written as CSV; name it *.csv")


if __name__ == "__main__":
    main()
