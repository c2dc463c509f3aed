"""Files of a run that commands read again; the run may be anybody's, so they are bounded."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from mlflow import MlflowClient

from experiments.cli.errors import UserError

CONFIG, WEIGHTS = "config.yaml", "weights.pt"  # what a network is loaded from
MISTAKES = "mistakes.csv"  # the images that a run classifies wrongly
LARGEST = {CONFIG: 100_000, WEIGHTS: 2**30, MISTAKES: 2**21}  # bytes, unpacked


def download(client: MlflowClient, run_id: str, name: str, folder: str) -> Path:
    """A file of a run, in `folder`. UserError: the run does not have it, or it is large."""
    try:
        sizes = {file.path: file.file_size for file in client.list_artifacts(run_id)}
        refuse_large(name, sizes[name] or 0)  # some stores do not know it
        path = Path(client.download_artifacts(run_id, name, folder))
        refuse_large(name, path.stat().st_size)
        return path
    except UserError:
        raise
    except Exception as error:  # each store of artifacts, and its missing package, has its own
        raise UserError(f"has no {name} among its artifacts") from error


def refuse_large(name: str, size: int) -> None:
    if size > LARGEST[name]:
        raise UserError(f"{name} has {size:,} bytes, more than {LARGEST[name]:,}")


def mistakes(truth: Sequence[int], predicted: Sequence[int]) -> str:
    """The misclassified images as CSV: image (from 0, in the order of the set's files, or of the
    images held out), true, predicted."""
    table = pd.DataFrame({"true": truth, "predicted": predicted}).rename_axis("image")
    return table.query("true != predicted").to_csv()


def read_mistakes(client: MlflowClient, run_id: str, images: int) -> pd.DataFrame | None:
    """What `mistakes` wrote of a run that was judged on so many images; None where the run has no
    such file, or no valid one."""
    columns = {"image": int, "true": int, "predicted": int}
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = download(client, run_id, MISTAKES, folder)
            table = pd.read_csv(path, usecols=list(columns), dtype=columns)
    except (UserError, ValueError, OverflowError):  # pandas's
        return None
    places = table["image"]
    ascending = places.is_monotonic_increasing and places.is_unique
    return table if ascending and places.between(0, images - 1).all() else None
