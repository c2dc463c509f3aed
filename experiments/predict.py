"""What a trained network reads in images.

python -m experiments.predict run=ID input=FILE_OR_FOLDER
python -m experiments.predict model=best input=test.csv output=submission.csv format=submission
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from experiments.cli.config import require_int
from experiments.cli.errors import UserError, refuse_password
from experiments.cli.files import write
from experiments.cli.program import program
from experiments.deployment.inference import (
    FULL,
    SUBMISSION,
    as_csv,
    full,
    predict,
    read,
    submission,
)

if TYPE_CHECKING:
    from torch import Tensor

ROWS = 50  # shown on the terminal
BEST = "best"


@program("predict")
def main(cfg: DictConfig) -> None:
    check(cfg)
    from experiments.cli.text import percent
    from experiments.deployment.find import best, find
    from experiments.deployment.load import load
    from experiments.tracking.store import Store

    store = Store(cfg.tracking)
    run = best(store, cfg.where) if cfg.run == BEST else find(store, str(cfg.run))
    found = load(store, run, Path(cfg.checkpoints.root))
    names, images, labels = read(Path(cfg.input), found.data)
    probabilities = predict(found.network, images, cfg.batch_size)
    predicted = probabilities.argmax(1)
    if cfg.output is None:
        show(names, probabilities)
    else:
        form = {FULL: full, SUBMISSION: submission}[cfg.format]
        write(Path(cfg.output), as_csv(form(names, probabilities)))
        print(f"{cfg.output}: {len(names):,} images")
    if labels is not None:
        right = int((predicted == labels).sum())
        print(f"{right:,} of {len(labels):,} right, {right / len(labels) * 100:.2f} %")
    accuracy = percent(run.data.metrics.get("val/best_acc"))
    print(f"by {run.info.run_name}, {accuracy} in validation: {store.url(run.info.run_id)}")


def check(cfg: DictConfig) -> None:
    """Refuse what cannot be done, ahead of all that takes time.

    Raises:
        UserError: a key is missing or has a value that it cannot have.
    """
    if cfg.run is None:
        raise UserError("give run=ID, of a run or a registered model, or model=best")
    if cfg.input is None:
        raise UserError("give input=FILE_OR_FOLDER: an image, a folder of images, or a CSV file")
    if not Path(str(cfg.input)).exists():
        raise UserError(f"input={cfg.input}: there is no such file or folder")
    if cfg.format not in (FULL, SUBMISSION):
        raise UserError(f"format must be {FULL} or {SUBMISSION}, not {cfg.format}")
    if cfg.output is not None:
        output = Path(str(cfg.output))
        if not output.absolute().parent.is_dir() or output.is_dir():
            raise UserError(f"output={output}: is not the name of a file in a folder that exists")
        if output.exists() and output.samefile(cfg.input):
            raise UserError("output and input must not be the same file")
    require_int(cfg, "batch_size", 1)
    refuse_password(cfg)


def show(names: list[str], probabilities: Tensor) -> None:
    """Print the most and the second most probable class of each image."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("image", "predicted", "probability", "else", "probability"):
        table.add_column(column, justify="left" if column == "image" else "right")
    values, classes = probabilities[:ROWS].topk(min(2, probabilities.shape[1]))
    for name, chances, kinds in zip(names, values.tolist(), classes.tolist(), strict=False):
        cells = zip(map(str, kinds), (f"{chance * 100:.2f} %" for chance in chances), strict=True)
        table.add_row(name, *(cell for pair in cells for cell in pair))
    Console(highlight=False, markup=False).print(table)
    if len(names) > ROWS:
        print(f"and {len(names) - ROWS:,} more; output=FILE.csv has all")


if __name__ == "__main__":
    # model=best is what one says; to Hydra, though, model is a group of configurations
    sys.argv = [f"run={item[6:]}" if item.startswith("model=") else item for item in sys.argv]
    main()
