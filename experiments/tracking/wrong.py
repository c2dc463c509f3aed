"""Which images a run classifies wrongly: kept with the run, read from untrusted ones."""

import tempfile
from pathlib import Path
from typing import Annotated, Literal

from mlflow import MlflowClient
from pydantic import BaseModel, Field

from experiments.tracking.run import TrackedRun

WRONG = "wrong.json"  # an artifact
MOST = 10_000_000  # images
LARGEST = 2**20  # bytes that are read: 100,000 indices and more


class Wrong(BaseModel):
    """The images that the exported weights of a run classify wrongly.

    Attributes:
        split: which images were scored.
        digest: of the run's data.
        images: how many were scored.
        wrong: indices from 0 to `images` - 1, ascending, in the order of the set's files. With
            `split` "val" and `data.holdout`, in the order of the images held out.
    """

    split: Literal["val", "test"]
    digest: Annotated[str, Field(max_length=64)]
    images: Annotated[int, Field(gt=0, le=MOST)]
    wrong: list[Annotated[int, Field(ge=0)]]


def log_wrong(run: TrackedRun, wrong: Wrong) -> None:
    """Keep which images a run classifies wrongly."""
    run.store.patiently(run.client.log_text, run.id, wrong.model_dump_json(), WRONG)


def read_wrong(client: MlflowClient, run_id: str) -> Wrong | None:
    """Which images a run classifies wrongly; None where it has no such file, or no valid one."""
    try:
        sizes = {file.path: file.file_size for file in client.list_artifacts(run_id)}
        if not 0 < (sizes.get(WRONG) or 0) <= LARGEST:
            return None
        with tempfile.TemporaryDirectory() as folder:
            text = Path(client.download_artifacts(run_id, WRONG, folder)).read_bytes()
        found = Wrong.model_validate_json(text, strict=True)
    except Exception:  # each store of artifacts, and its missing package, has errors of its own
        return None
    ascending = sorted(set(found.wrong)) == found.wrong
    return found if ascending and found.wrong[-1:] < [found.images] else None
