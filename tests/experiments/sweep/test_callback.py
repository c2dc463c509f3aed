"""What the parent of a sweep does before its first job."""

import json
import subprocess
import sys

import pytest
from conftest import PROJECT, composing, quick
from filelock import FileLock

from experiments.cli.jobs import STATE
from experiments.sweep.callback import View, count_jobs, print_jobs


@pytest.mark.parametrize(
    ("overrides", "jobs"),
    [
        (["step=s13"], 1),
        (["step=glob(*)", "seed=range(5)"], 14 * 5),
        (["step=glob(*,exclude=s0*)", "seed=1,2", "+model.x=[1,2]"], 5 * 2),
        (["seed=range(5)", "seed=1,2"], 2),
        (["seed=0,1", "seed=0"], 1),
        (["~scheduler", "seed=choice(1,2,3)"], 3),
    ],
)
def test_the_jobs_of_a_sweep_are_counted(overrides, jobs):
    with composing():
        assert count_jobs(overrides) == jobs


def test_the_screen_is_as_kept(screen, capsys):
    trained = {"state": "trained", "val_acc": 0.9935, "started": 0.0, "ended": 125.0}
    trained["verdict"] = "misses 99.40 % by 0.05"
    jobs = [trained | {"name": f"step 13, seed {seed}"} for seed in range(2)]
    jobs.append(trained | {"name": "step 12, seed 0", "state": "trained before", "ended": 1.0})
    failed = {"name": "step 1, seed 0", "state": "failed", "started": 0.0, "ended": 3.0}
    error = "over budget: 40,202 parameters, budget.parameters allows 8,000, 32,202 too many"
    jobs.append(failed | {"error": error, "log": "mlruns/sweeps/a/3/error.log"})
    jobs.append({"name": "step 2, seed 0", "state": "interrupted", "started": 0.0, "ended": 61.0})
    print_jobs(jobs, total=7)
    screen("sweep-end", capsys.readouterr().out)


def test_a_sweep_says_each_reason_for_a_slower_backend_once(capsys):
    slow, moved = "slower than it could be: eager, as x", "trained in more than one way: y"
    job = {"name": "a", "state": "trained", "started": 0.0, "ended": 1.0}
    given = ([slow], [slow, moved], [])
    print_jobs([job | {"backend": texts} for texts in given] + [job], total=4)
    output = capsys.readouterr().out
    assert output.count("slower") == output.count("trained in more than one way") == 1
    assert f"2 jobs: {slow}\n1 job: {moved}\n" in output


def working(folder, *jobs: dict) -> View:
    """The view of a sweep of three jobs, of which some have begun."""
    for number, job in enumerate(jobs):
        (folder / str(number)).mkdir()
        (folder / str(number) / STATE).write_text(json.dumps({"number": number} | job))
    return View(folder, jobs=3)


def test_the_bars_of_a_sweep_shorten_names_and_keep_figures_at_80_columns(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    long = "step 13, seed 1, data.batch_size=128, model.widths=[8,8,12,12,10], optimizer.lr=0.03"
    note = "epoch 10/14  loss 0.0385  acc 98.11%  val 99.36%"
    running = {"name": long, "state": "running", "done": 0.7, "note": note}
    starting = {"name": "step=s13,optimizer.lr=0.03,seed=1", "state": "starting"}
    view = working(tmp_path, running, starting)
    view.update()
    with view.bars.console.capture() as found:
        view.bars.console.print(view.bars.get_renderable())
    sweep, first, second = found.get().splitlines()
    assert sweep.startswith("sweep 0/3 ") and "1 running, 1 starting" in sweep
    assert first.startswith("step 13, seed 1") and "…" in first and note in first
    assert second.startswith("starting ") and "seed=1" not in second


def test_a_sweep_without_a_terminal_says_first_how_many_jobs_it_starts(tmp_path, capsys):
    view = working(tmp_path)
    view.stopped.set()
    view.run()
    assert capsys.readouterr().err == "starting 3 jobs\n"


def test_a_terminal_shows_at_once_and_once_why_a_job_failed(tmp_path, capsys):
    running = {"name": "step 13, seed 1", "state": "running"}
    view = working(
        tmp_path, {"name": "step 1, seed 0", "state": "failed", "error": "over"}, running
    )
    view.bars.disable = False
    view.update()
    assert capsys.readouterr().err == "[1/3] step 1, seed 0 failed over\n"
    view.update()
    assert capsys.readouterr().err == ""


def test_a_search_by_several_workers_says_once_how_long_it_takes(tmp_path, capsys):
    worker = {"name": "worker", "state": "running", "race": 0.0}
    view = working(tmp_path, worker, *[worker | {"expected": "about 3 min"}] * 2)
    view.update()
    view.update()
    assert capsys.readouterr().err == "about 3 min\n"


def test_a_folder_where_a_sweep_works_takes_no_other(workplace, small, run_here):
    folder = workplace.folder / "sweeps"
    folder.mkdir()
    with FileLock(folder / ".lock"):
        result = workplace.run("train", "-m", *quick(small, "seed=0,1"))
    assert result.returncode == 1
    assert f"hydra.sweep.dir={folder}: another sweep works in this folder" in result.stderr
    assert not workplace.runs()


def test_the_line_of_a_job_has_the_time_left_once_it_is_known(tmp_path, capsys):
    view, job = View(tmp_path, 2), {"name": "step 13, seed 0", "state": "trained"}
    view.ended.add(0)
    view.print(job | {"val_acc": 0.9935})
    assert capsys.readouterr().err == "[1/2] step 13, seed 0 trained 99.35 %\n"
    view.bars.tasks[view.sweep].finished_time = 0.0
    view.print(job | {"val_acc": 0.9935})
    assert capsys.readouterr().err == "[1/2] step 13, seed 0 trained 99.35 % (0 s left)\n"


TRAIN = """
import sys
import experiments.sweep.preload
before = set(sys.modules)
from experiments.train import main
main()
late = set(sys.modules) - before
print(*sorted(late))
print(len(late) / len(sys.modules))
"""
HEAVY = ("experiments.budget", "experiments.tracking", "experiments.training", "models.lightning")


@pytest.mark.slow
def test_the_imports_ahead_are_those_of_a_run(workplace, small):
    """A stale name would make every worker import for itself, and nobody would see it."""
    command = [*workplace.places, *quick(small, "trainer.max_epochs=1")]
    result = subprocess.run(
        [sys.executable, "-c", TRAIN, *command],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    *_, late, share = result.stdout.splitlines()
    assert [name for name in late.split() if name.startswith(HEAVY)] == []
    assert float(share) < 0.03
