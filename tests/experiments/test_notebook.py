"""docs/notebook.ipynb runs from its first cell to its last, on a store with runs."""

import json
import os
import subprocess
import sys

import pytest
from conftest import ONE_THREAD, PROJECT, Workplace
from made import make

NOTEBOOK = PROJECT / "docs" / "notebook.ipynb"
SHOW = "\nprint(repr(_))\n"  # as a notebook shows the last value of a cell


def cells() -> list[str]:
    """The code of each cell, which ends by showing its last value."""
    found = json.loads(NOTEBOOK.read_text())["cells"]
    texts = ["".join(cell["source"]) for cell in found if cell["cell_type"] == "code"]
    return ["\n".join([*text.splitlines()[:-1], f"_ = {text.splitlines()[-1]}"]) for text in texts]


@pytest.mark.slow
def test_the_notebook_runs(tmp_path):
    workplace = Workplace(tmp_path)
    make(workplace.folder, "s12", [0.9931, 0.9929, 0.9933])
    make(workplace.folder, "s13", [0.9901, 0.9903, 0.9899])
    result = subprocess.run(
        [sys.executable, "-c", "".join(cell + SHOW for cell in cells())],
        cwd=PROJECT,
        env=os.environ | ONE_THREAD | {"MLFLOW_TRACKING_URI": workplace.uri},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "4,888 parameters" in result.stdout
    assert "BlockNet" in result.stdout or "LadderNet" in result.stdout
    assert "worse" in result.stdout
    assert result.stdout.count("PngImageFile") == 3
