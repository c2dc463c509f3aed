"""Training as a user starts it: that it repeats, resumes, and fails cleanly."""

import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
import torch
from conftest import (
    EPOCH_METRICS,
    ONE_THREAD,
    PROJECT,
    Workplace,
    configure,
    one_line,
    quick,
    wait_for_epoch,
)
from mlflow.entities import Run

from experiments.tracking.store import Store
from experiments.tracking.trained_network import load_network


def curve(workplace: Workplace, run: Run) -> list:
    """All that training computed, epoch by epoch."""
    names = sorted(EPOCH_METRICS - {"epoch_seconds"})
    return [workplace.history(run.info.run_id, name) for name in names]


@pytest.mark.slow
def test_a_seed_gives_the_same_run_again_and_another_seed_another(workplace, small):
    for overrides in (("seed=1",), ("seed=1", "force=true"), ("seed=2",)):
        command = quick(small, "trainer.max_epochs=2", "scheduler.step_size=1", *overrides)
        assert workplace.run("train", *command).returncode == 0
    other, again, first = workplace.seeds()
    assert curve(workplace, first) == curve(workplace, again)
    assert curve(workplace, first) != curve(workplace, other)
    assert [rate for _, rate in workplace.history(first.info.run_id, "lr")] == [0.019, 0.0019]


def test_without_a_compiler_it_trains_more_slowly_and_says_so(workplace, small, tmp_path):
    none = {"CXX": "no-such-compiler", "XDG_CACHE_HOME": str(tmp_path)}
    result = workplace.run("train", *quick(small, "trainer.max_epochs=1"), **none)
    assert result.returncode == 0, result.stderr
    assert "slower than it could be: eager, as " in result.stdout
    assert "no-such-compiler" in result.stdout
    [run] = workplace.seeds()
    assert run.data.tags["backend"].startswith("eager, as ")


@pytest.mark.slow
def test_a_sweep_says_once_why_its_runs_were_slower(workplace, small, tmp_path):
    none = {"CXX": "no-such-compiler", "XDG_CACHE_HOME": str(tmp_path)}
    command = quick(small, "trainer.max_epochs=1", "seed=0,1")
    result = workplace.run("train", "-m", *command, **none)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("2 jobs: slower than it could be: eager, as ") == 1
    assert result.stdout.count("no-such-compiler") == 1


def test_the_last_epoch_is_kept_and_without_a_holdout_no_other(workplace, small):
    still = ("optimizer.lr=1e-30", "model.batch_norm=false", "trainer.max_epochs=3")
    assert workplace.run("train", *quick(small, *still)).returncode == 0
    checkpoints = workplace.folder.glob("checkpoints/*/*.ckpt")
    epochs = {path.stem: torch.load(path, weights_only=True)["epoch"] for path in checkpoints}
    assert epochs == {"last": 2}


EPOCHS = 16
LONG = (f"trainer.max_epochs={EPOCHS}", "scheduler.step_size=4")


@pytest.fixture(scope="module")
def straight(tmp_path_factory, small) -> list:
    """The curve of a run that nothing interrupted."""
    workplace = Workplace(tmp_path_factory.mktemp("straight"))
    assert workplace.run("train", *quick(small, *LONG)).returncode == 0
    return curve(workplace, workplace.seeds()[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    "kill",
    [
        *(
            pytest.param(s, marks=pytest.mark.slow)
            for s in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        ),
        signal.SIGKILL,
    ],
)
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(workplace, small, straight, kill):
    process = subprocess.Popen(
        workplace.command("train", *quick(small, *LONG)),
        cwd=PROJECT,
        env=os.environ | ONE_THREAD,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_for_epoch(workplace, 3)
        process.send_signal(kill)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    [run] = workplace.seeds()
    if kill == signal.SIGKILL:
        assert run.info.status == "RUNNING"
    else:
        assert run.info.status == "KILLED"
        assert process.returncode == 128 + kill
        begun, network, interrupted = errors.splitlines()
        assert begun.endswith(f": {EPOCHS} epochs on IDXFolder")
        assert network == "network: 5,854 parameters"
        assert interrupted.startswith("interrupted; the same command goes on from ")
    parent = run.data.tags["mlflow.parentRunId"]
    assert workplace.client.get_run(parent).info.status == run.info.status
    assert list(workplace.folder.glob("checkpoints/*/last.ckpt"))
    assert 2 <= len(workplace.history(run.info.run_id, "val/acc")) < EPOCHS

    again = workplace.run("train", *quick(small, *LONG))
    assert again.returncode == 0
    assert re.search(rf"^goes on after epoch \d+ of {EPOCHS}: .*last.ckpt$", again.stderr, re.M)
    [resumed] = workplace.seeds()
    assert (resumed.info.run_id, resumed.info.status) == (run.info.run_id, "FINISHED")
    assert curve(workplace, resumed) == straight
    assert workplace.client.get_run(parent).info.status == "FINISHED"


def test_a_diverging_run_stops_is_marked_failed_and_keeps_its_log(workplace, small):
    result = workplace.run("train", *quick(small, "optimizer.lr=1e30"))
    line = one_line(result, begun=": 14 epochs on IDXFolder\nnetwork: 5,854 parameters\n")
    assert "the training loss became nan in epoch 1: lower optimizer.lr, now 1e+30" in line
    [run] = workplace.seeds()
    assert {each.info.status for each in workplace.runs()} == {"FAILED"}  # its parent too
    assert "the training loss became nan" in run.data.tags["error"]
    log = Path(workplace.client.download_artifacts(run.info.run_id, "train.log"))
    assert "Diverged: the training loss became nan" in log.read_text()


@pytest.mark.slow
def test_a_wider_network_teaches_a_small_one(workplace, small):
    short = quick(small, "trainer.max_epochs=1")
    wider = ("model.widths=[20,20,20,20,20]", "budget.parameters=null")
    assert workplace.run("train", *short, *wider).returncode == 0
    [teacher] = workplace.seeds()
    taught = ("loss=distillation", f"loss.teacher={teacher.info.run_id}")
    result = workplace.run("train", *short, *taught)
    assert result.returncode == 0, result.stderr
    assert workplace.run("train", *short).returncode == 0
    alone, student = workplace.seeds()[:2]
    assert student.data.metrics["train/loss"] != alone.data.metrics["train/loss"]
    store = Store(configure("train", *short, f"tracking.uri={workplace.uri}").tracking)
    assert load_network(store, student).data["in_channels"] == 1
    line = one_line(workplace.run("train", *short, "loss=distillation"))
    assert "loss.teacher has no value; give it one" in line
    for wrong, complaint in (
        (["data.in_channels=3", "budget.parameters=null"], "is for data.in_channels=1, not 3"),
        (["loss.teacher=nobody"], "loss.teacher=nobody: is no run of sqlite:///"),
    ):
        line = one_line(workplace.run("train", *short, *taught, *wrong), begun="step 13")
        assert complaint in line
    line = one_line(workplace.run("train", *short, *taught, "fused.seed=2"))
    assert "fused: loss.teacher would see the images of one run" in line
    assert len(workplace.seeds()) == 3


@pytest.mark.slow
def test_a_full_disk_is_told_in_one_line(workplace, small):
    """A limit on the size of files stands in for it: the checkpoint does not fit."""
    large = ("model.widths=[4,4,4,4,300,300]", "budget.parameters=null")
    command = workplace.command("train", *quick(small, "trainer.max_epochs=1", *large))
    limited = 'ulimit -f 1500; trap "" XFSZ; exec "$@"'  # KiB; a signal would kill it unheard
    result = subprocess.run(
        ["bash", "-c", limited, "-", *command],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "File too large" in one_line(result, begun=": 1 epoch on IDXFolder")
    [run] = workplace.seeds()
    assert run.info.status == "FAILED"
    assert not list(workplace.folder.glob("checkpoints/*/*.ckpt"))  # nothing half-written


@pytest.mark.slow
def test_two_processes_do_not_train_the_same_run(workplace, small):
    command = workplace.command("train", *quick(small, "trainer.max_epochs=20"))
    first = subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE)
    try:
        wait_for_epoch(workplace, 1)
        second = workplace.run("train", *quick(small, "trainer.max_epochs=20"))
        assert "being trained by another process" in one_line(second)
    finally:
        first.kill()
        first.communicate()
