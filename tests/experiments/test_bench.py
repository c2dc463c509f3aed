"""The bench on little data: all contenders run, and the figures are kept."""

import json

import mlflow
import pytest
from conftest import Workplace, one_line, quick
from mlflow.entities import Run

from experiments.benchmarks import contenders

SHORT = ("rounds=1", "batches=2")


def kept_by(workplace: Workplace, name: str) -> tuple[Run, dict]:
    """The only run of the store, and its only file."""
    [run] = workplace.runs()
    [file] = workplace.client.list_artifacts(run.info.run_id)
    assert file.path == name
    text = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{name}")
    return run, json.loads(text)


@pytest.mark.slow
def test_an_epoch_of_ours_and_of_others_is_timed(workplace, small):
    result = workplace.run("bench", *quick(small, *SHORT))
    assert result.returncode == 0, result.stderr
    run, kept = kept_by(workplace, "epoch.json")
    names = [row["name"] for row in kept["medians"]]
    assert names == [
        "notebook, 0 workers",
        "notebook, 2 workers",
        "Lightning, 0 workers",
        "ours",
        "bare loop",
        "floor",
    ]
    assert all(name in result.stdout for name in names)
    assert all(row["ms_a_batch"] > 0 for row in kept["medians"])
    assert kept["medians"][3]["ratio"] == 1
    assert kept["machine"]["device.name"]
    assert run.info.run_name == "bench epoch, step 13, data=idx"
    assert run.data.metrics["ours/ratio"] == 1


@pytest.mark.slow
def test_the_start_of_a_command_is_timed(workplace, small):
    result = workplace.run("bench", *quick(small, "what=start", *SHORT), OMP_NUM_THREADS="2")
    assert result.returncode == 0, result.stderr
    _, kept = kept_by(workplace, "start.json")
    assert all(row["seconds"] > 0 for row in kept["medians"])


@pytest.mark.slow
def test_the_screen_is_as_kept(small, tmp_path, run_here, monkeypatch, screen):
    """All contenders train a few batches; their figures are given."""
    seconds = iter((13.5, 9.75, 15.2, 2.32, 2.27, 2))

    def figures(*_):
        took = next(seconds)
        return {"seconds": took, "ms_a_batch": took, "images_a_second": 60_000 / took}

    monkeypatch.setattr(contenders, "measure", figures)
    monkeypatch.chdir(tmp_path)
    status, output, errors = run_here("bench", *quick(small, "rounds=1"))
    assert status == 0, errors
    screen("bench", errors + output)


def test_an_unknown_bench_is_refused(workplace):
    line = one_line(workplace.run("bench", "what=nothing"))
    assert line == "error: what must be 'epoch' or 'start', not nothing (text)"
