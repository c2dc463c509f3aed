"""docs/notebook.ipynb runs from its first cell to its last, on a store with runs.

As a program, on a store with steps 12 and 13, it stores what the cells show:
MLFLOW_TRACKING_URI=... python tests/experiments/test_notebook.py
"""

import base64
import contextlib
import io
import json
import os
import subprocess
import sys
from typing import Any

import pandas as pd
import pytest
from conftest import ONE_THREAD, PROJECT, Workplace
from made import make

NOTEBOOK = PROJECT / "docs" / "notebook.ipynb"
MOST = 100_000  # bytes of the file, with its figures
WIDTH = 100  # characters of its texts


def executed(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook with what its cells show: what they print, and their last value."""
    names: dict[str, Any] = {}
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for count, cell in enumerate(cells, 1):
        *lines, last = "".join(cell["source"]).splitlines()
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec("\n".join(lines), names)
            value = eval(last, names)
        cell["execution_count"], cell["outputs"] = count, []
        if text := printed.getvalue():
            cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": kept(text)}]
        with pd.option_context("display.width", WIDTH, "display.max_columns", 10):
            shown = {"text/plain": kept(repr(value))}
        if hasattr(value, "_repr_png_"):
            shown = {"text/plain": [f"a picture of {value.width} x {value.height} pixels"]}
            colours = value.convert("RGB").quantize(64)
            colours.save(file := io.BytesIO(), "PNG", optimize=True)
            shown["image/png"] = base64.b64encode(file.getvalue()).decode()
        result = {"output_type": "execute_result", "execution_count": count, "metadata": {}}
        cell["outputs"].append(result | {"data": shown})
    return notebook


def kept(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def kinds(notebook: dict[str, Any]) -> list[list[str]]:
    """Of each cell, the kinds of what it shows."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [[kind for out in cell["outputs"] for kind in out.get("data", [out])] for cell in cells]


@pytest.mark.slow
def test_the_notebook_runs(tmp_path):
    workplace = Workplace(tmp_path)
    make(workplace.folder, "s12", [0.9931, 0.9929, 0.9933])
    make(workplace.folder, "s13", [0.9901, 0.9903, 0.9899])
    result = subprocess.run(
        [sys.executable, __file__, str(tmp_path / "made.ipynb")],
        cwd=NOTEBOOK.parent,  # where Jupyter runs it
        env=os.environ
        | ONE_THREAD
        | {"MLFLOW_TRACKING_URI": workplace.uri, "PYTHONPATH": f"{PROJECT}:{PROJECT}/tests"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    made = json.loads((tmp_path / "made.ipynb").read_text())
    text = json.dumps(made)
    assert "4,888 parameters" in text
    assert "LadderNet" in text
    assert "worse" in text
    assert sum("image/png" in shown for shown in kinds(made)) == 3


def test_the_notebook_is_stored_as_it_runs():
    stored = json.loads(NOTEBOOK.read_text())
    assert NOTEBOOK.stat().st_size < MOST
    assert sum("image/png" in shown for shown in kinds(stored)) == 3
    assert all(kinds(stored)), "each cell shows something"
    assert "step 13" in json.dumps(stored)


if __name__ == "__main__":
    place = sys.argv[1] if sys.argv[1:] else NOTEBOOK
    done = json.dumps(executed(json.loads(NOTEBOOK.read_text())), indent=1, ensure_ascii=False)
    with open(place, "w", encoding="utf-8") as file:
        file.write(f"{done}\n")
