"""Sweeps as a user starts them: seeds under a parent, failures alone, and going on after a kill."""

import os
import random
import re
import signal
import statistics
import subprocess
import time

import pytest
from conftest import EPOCH_METRICS, PROJECT, Workplace, quick, wait_for_epoch

from experiments.cli.jobs import read_jobs

EPOCHS = 6
LONG = (f"trainer.max_epochs={EPOCHS}", "scheduler.step_size=2", "name=step 13")


def sweep(workplace: Workplace, small, *overrides: str) -> subprocess.CompletedProcess:
    return workplace.run("train", "-m", *quick(small, *overrides))


def by_name(workplace: Workplace) -> dict:
    runs = workplace.runs()
    assert runs
    assert len(runs) == len({run.info.run_name for run in runs})  # each exists once
    return {run.info.run_name: run for run in runs}


def results(workplace: Workplace) -> dict:
    """All that training computed, by run and metric."""
    names = EPOCH_METRICS - {"epoch_seconds"}
    return {
        name: {metric: workplace.history(run.info.run_id, metric) for metric in names}
        for name, run in by_name(workplace).items()
        if "seed" in name
    }


@pytest.fixture(scope="module")
def swept(tmp_path_factory, small) -> tuple[Workplace, subprocess.CompletedProcess]:
    """Two seeds that finish, side by side, and two that fail."""
    workplace = Workplace(tmp_path_factory.mktemp("sweep"))
    overrides = ("seed=range(2)", "optimizer.lr=0.02,1e30", "trainer.max_epochs=2")
    overrides += ("hydra.sweep.subdir=of-${seed}/${optimizer.lr}",)  # not where states are kept
    return workplace, sweep(workplace, small, "launcher=local", *overrides)


def test_seeds_hang_under_a_parent_with_their_statistics(swept):
    runs = by_name(swept[0])
    parent = runs["step 13, data=idx, optimizer.lr=0.02, trainer.max_epochs=2"]
    overrides = parent.info.run_name.removeprefix("step 13, ")
    children = [runs[f"step 13, seed {seed}, {overrides}"] for seed in range(2)]
    assert [run.info.status for run in children] == ["FINISHED", "FINISHED"]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    values = [run.data.metrics["val/acc"] for run in children]
    metrics = parent.data.metrics
    assert metrics["seeds"] == 2
    assert metrics["val/acc_mean"] == pytest.approx(statistics.mean(values))
    assert metrics["val/acc_std"] == pytest.approx(statistics.stdev(values))
    assert (metrics["val/acc_min"], metrics["val/acc_max"]) == (min(values), max(values))
    assert metrics["parameters"] == 5854
    assert "seed" not in parent.data.params


def test_a_job_that_fails_fails_alone(swept):
    workplace, result = swept
    failed = [run for name, run in by_name(workplace).items() if "1e+30" in name and "seed" in name]
    assert [run.info.status for run in failed] == ["FAILED", "FAILED"]
    assert result.returncode == 1
    assert "2 trained, 2 failed" in result.stdout or "2 failed, 2 trained" in result.stdout
    assert "the training loss became nan" in result.stdout
    again = "to run again what failed, and nothing else: python -m experiments.train -m"
    assert again in " ".join(result.stdout.split())
    logs = list(workplace.folder.glob("sweeps/*/error.log"))
    assert len(logs) == 2
    assert all("Diverged" in log.read_text() for log in logs)
    assert "Traceback" not in result.stdout + result.stderr


def test_a_sweep_without_a_terminal_prints_a_line_a_job(swept):
    first, *lines = swept[1].stderr.splitlines()
    assert first == "starting 4 jobs"
    assert [line.split()[0] for line in lines] == ["[1/4]", "[2/4]", "[3/4]", "[4/4]"]


def test_a_job_tells_its_batches_to_the_sweep(swept):
    jobs = read_jobs(swept[0].folder / "sweeps")
    trained = [job for job in jobs if job["state"] == "trained"]
    assert [job["done"] for job in trained] == [1, 1]
    line = r"epoch 2/2  loss [\d.]+  acc [\d.]+%  val [\d.]+%"
    assert all(re.fullmatch(line, job["note"]) for job in trained)


def test_local_jobs_have_one_thread_each(swept):
    children = [run for run in swept[0].runs() if "device" in run.data.tags]
    assert {run.data.tags["device.threads"] for run in children} == {"1"}


def test_the_same_sweep_again_trains_what_is_missing_and_nothing_else(swept, small):
    workplace, _ = swept
    before = {name: run.info.end_time for name, run in by_name(workplace).items() if "seed" in name}
    again = sweep(workplace, small, "seed=range(3)", "optimizer.lr=0.02", "trainer.max_epochs=2")
    assert again.returncode == 0, again.stderr
    assert "2 trained before, 1 trained" in again.stdout
    after = by_name(workplace)
    assert all(after[name].info.end_time == end for name, end in before.items())
    parent = after["step 13, data=idx, optimizer.lr=0.02, trainer.max_epochs=2"]
    assert parent.data.metrics["seeds"] == 3


@pytest.mark.parametrize("moment", ["on_multirun_start", "on_multirun_end"])
def test_a_sweep_whose_callback_fails_has_failed(
    swept, small, run_here, tmp_path, monkeypatch, moment
):
    (tmp_path / f"fails_{moment}.py").write_text(
        "from hydra.experimental.callback import Callback\n"
        "class Fails(Callback):\n"
        f"    def {moment}(self, **_):\n"
        "        raise ValueError('no luck')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    given = quick(small, "seed=0", "optimizer.lr=0.02", "trainer.max_epochs=2")
    callback = f"+hydra.callbacks.fails._target_=fails_{moment}.Fails"
    status, output, errors = run_here("train", "-m", *swept[0].places, *given, callback)
    assert status == 1
    assert "no luck" in errors
    assert "failed" not in output  # of the jobs, each was trained before, or not begun


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "does", "told"),
    [
        ("start", "os._exit(1)", "A worker process managed by the executor was unexpectedly term"),
        ("start", "raise ValueError('no luck')", "no luck"),
        ("end", "raise ValueError('no luck')", "no luck"),
    ],
)
def test_a_sweep_whose_worker_dies_has_failed(workplace, small, tmp_path, moment, does, told):
    (tmp_path / "dies.py").write_text(
        "import os\n"
        "from hydra.experimental.callback import Callback\n"
        "class Dies(Callback):\n"
        f"    def on_job_{moment}(self, **_):\n"
        f"        {does}\n"
    )
    command = workplace.command("train", "-m", *quick(small, "seed=0,1", "launcher=local"))
    result = subprocess.run(
        [*command, "+hydra.callbacks.dies._target_=dies.Dies"],
        cwd=PROJECT,
        env=os.environ | {"PYTHONPATH": f"{PROJECT}:{tmp_path}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert told in result.stderr
    assert "raise" in does or len(result.stderr.splitlines()) < 5


@pytest.mark.slow
@pytest.mark.parametrize("kill", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_closes_what_runs_and_says_how_to_go_on(workplace, small, kill):
    command = workplace.command(
        "train", "-m", *quick(small, "seed=range(3)", "launcher=local", "trainer.max_epochs=200")
    )
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=PROJECT, start_new_session=True, **pipes)
    wait_for_epoch(workplace, 2)
    # the terminal sends Ctrl-C to all of them; others know of the sweep alone
    os.killpg(process.pid, kill) if kill == signal.SIGINT else process.send_signal(kill)
    table, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + kill
    assert "interrupted" in errors
    assert "Traceback" not in table + errors
    assert "interrupted, " in table
    assert "not started" in table
    assert "to resume it: python -m experiments.train -m" in " ".join(table.split())
    assert {run.info.status for run in workplace.runs()} == {"KILLED"}  # their parent too


@pytest.mark.slow
def test_workers_end_with_their_job_once_their_sweep_is_killed(workplace, small):
    command = workplace.command(
        "train", "-m", *quick(small, "seed=range(9)", "launcher=local", "trainer.max_epochs=30")
    )
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=PROJECT, start_new_session=True, **quiet)
    wait_for_epoch(workplace, 2)
    process.kill()
    process.wait()
    end = time.monotonic() + 60
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < end:
            os.killpg(process.pid, 0)  # whether there still is any of them
            time.sleep(0.2)
    assert len(workplace.seeds()) < 9


def killed_and_started_again(workplace: Workplace, small, kills: int) -> None:
    """Start a sweep, kill -9 all of it at a random moment, and again; then let it finish."""
    chance = random.Random(kills)
    command = workplace.command(
        "train", "-m", *quick(small, "seed=range(3)", "launcher=local", *LONG)
    )
    for _ in range(kills):
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        # from the first imports to the last artifacts
        time.sleep(chance.uniform(4, 22))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    last = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert last.returncode == 0, last.stdout + last.stderr


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, small) -> dict:
    workplace = Workplace(tmp_path_factory.mktemp("uninterrupted"))
    result = sweep(workplace, small, "seed=range(3)", "launcher=local", *LONG)
    assert result.returncode == 0, result.stdout + result.stderr
    return results(workplace)


@pytest.mark.slow
@pytest.mark.parametrize("kills", [2, 8])
def test_a_killed_sweep_ends_as_if_nothing_had_happened(workplace, small, uninterrupted, kills):
    killed_and_started_again(workplace, small, kills)
    runs = by_name(workplace)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert results(workplace) == uninterrupted
    assert runs["step 13"].data.metrics["seeds"] == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "launcher",
    [("launcher=ray",), ("launcher=slurm", "hydra/launcher=submitit_local")],
    ids=["ray", "submitit"],
)
def test_other_launchers(workplace, small, launcher):
    result = sweep(workplace, small, *launcher, "seed=0,1", "trainer.max_epochs=1", "name=step 13")
    assert result.returncode == 0, result.stderr[-3000:]
    assert "2 trained" in result.stdout
    runs = by_name(workplace)
    assert runs["step 13"].data.metrics["seeds"] == 2
