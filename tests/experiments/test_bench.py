"""The bench on little data: all contenders run, and the figures are kept."""

import json

import pytest
from conftest import one_line, quick

from experiments.benchmarks import contenders

PLACES = ("rounds=1", "bench.batches=2")


@pytest.mark.slow
def test_an_epoch_of_ours_and_of_others_is_timed(workplace, small):
    folder = workplace.folder / "bench"
    result = workplace.run("bench", *quick(small, *PLACES, f"bench.folder={folder}"))
    assert result.returncode == 0, result.stderr
    kept = json.loads((folder / "epoch.json").read_text())
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
    [run] = workplace.runs()
    assert run.info.run_name == "bench epoch, step 13, data=idx"
    assert run.data.metrics["ours/ratio"] == 1
    artifacts = {file.path for file in workplace.client.list_artifacts(run.info.run_id)}
    assert artifacts == {"epoch.json"}


@pytest.mark.slow
def test_the_start_of_a_command_is_timed(workplace, small):
    places = ("what=start", f"bench.folder={workplace.folder}", *PLACES)
    result = workplace.run("bench", *quick(small, *places), OMP_NUM_THREADS="2")
    assert result.returncode == 0, result.stderr
    kept = json.loads((workplace.folder / "start.json").read_text())
    assert all(row["seconds"] > 0 for row in kept["medians"])


@pytest.mark.slow
def test_the_screen_is_as_kept(small, tmp_path, run_here, monkeypatch, screen):
    """All contenders train a few batches; their figures are given."""
    seconds = iter((13.5, 9.75, 15.2, 2.32, 2.27, 2))

    def figures(*_):
        took = next(seconds)
        return {"seconds": took, "ms_a_batch": took, "images_a_second": 60_000 / took}

    monkeypatch.setattr(contenders, "figures", figures)
    monkeypatch.chdir(tmp_path)
    status, output, errors = run_here("bench", *quick(small, "rounds=1"))
    assert status == 0, errors
    screen("bench", errors + output)


def test_an_unknown_bench_is_refused(workplace):
    line = one_line(workplace.run("bench", "what=nothing"))
    assert line == "error: what must be 'epoch' or 'start', not nothing (text)"
