"""Fused runs: each is what it would have been alone."""

import os
import re
import signal
import subprocess

import pytest
from conftest import EPOCH_METRICS, ONE_THREAD, PROJECT, Workplace, quick, wait_for_epoch

SHORT = ("trainer.max_epochs=2", "scheduler.step_size=1")
COMPUTED = EPOCH_METRICS - {"epoch_seconds"}


def curves(workplace: Workplace) -> dict:
    return {
        run.data.params["seed"]: {
            name: [value for _, value in workplace.history(run.info.run_id, name)]
            for name in COMPUTED
        }
        for run in workplace.seeds()
    }


@pytest.fixture(scope="module")
def fused(tmp_path_factory, small) -> tuple[Workplace, subprocess.CompletedProcess]:
    """Two learning rates, of which one is absurd, by two seeds."""
    workplace = Workplace(tmp_path_factory.mktemp("fused"))
    many = ("fused.seed=2", "fused.lr=[0.019,1e30]", *SHORT)
    return workplace, workplace.run("train", *quick(small, *many))


def test_each_is_a_run_of_its_own(fused):
    workplace, _ = fused
    finished = [run for run in workplace.seeds() if run.info.status == "FINISHED"]
    assert sorted(run.data.params["seed"] for run in finished) == ["0", "1"]
    assert {run.data.params["optimizer.lr"] for run in finished} == {"0.019"}
    assert len({run.data.tags["config_hash"] for run in finished}) == 2
    for run in finished:
        assert run.data.tags["fused"].startswith("fused-")
        assert run.data.metrics["val/acc"] > 0.5
        artifacts = {file.path for file in workplace.client.list_artifacts(run.info.run_id)}
        assert {"loss.png", "per_class.csv", "weights.pt"} <= artifacts
        for name in EPOCH_METRICS:
            assert [step for step, _ in workplace.history(run.info.run_id, name)] == [1, 2]
    [parent] = [run for run in workplace.runs() if run.data.metrics.get("seeds") == 2]
    assert {run.data.tags["mlflow.parentRunId"] for run in finished} == {parent.info.run_id}


def test_they_start_and_go_on_differently(fused):
    one, two = (c for c in curves(fused[0]).values() if c["val/loss"][-1] < 10)
    assert one["train/loss"] != two["train/loss"]


def test_one_that_diverges_fails_alone(fused):
    workplace, result = fused
    failed = [run for run in workplace.seeds() if run.info.status == "FAILED"]
    assert {run.data.params["optimizer.lr"] for run in failed} == {"1e+30"}
    assert len(failed) == 2
    assert result.returncode == 1
    diverged = "Diverged: the training loss became nan in epoch 1: lower optimizer.lr, now 1e+30"
    told = re.findall(rf"seed (\d), [^;]+: {re.escape(diverged)}", result.stderr)
    assert sorted(told) == ["0", "1"]
    assert "Traceback" not in result.stderr


def test_alone_they_were_trained_before(fused, small):
    again = fused[0].run("train", *quick(small, "seed=1", "optimizer.lr=0.019", *SHORT))
    assert again.returncode == 0, again.stderr
    assert "trained before" in again.stdout


@pytest.mark.slow
def test_interrupted_they_go_on_together(tmp_path_factory, small):
    many = ("fused.dropout=[0.05,0.2]", "trainer.max_epochs=4", "name=step 13")
    undisturbed = Workplace(tmp_path_factory.mktemp("undisturbed"))
    assert undisturbed.run("train", *quick(small, *many)).returncode == 0
    disturbed = Workplace(tmp_path_factory.mktemp("disturbed"))
    command = disturbed.command("train", *quick(small, *many))
    process = subprocess.Popen(
        command, cwd=PROJECT, env=os.environ | ONE_THREAD, stderr=subprocess.PIPE, text=True
    )
    wait_for_epoch(disturbed, 2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert {run.info.status for run in disturbed.seeds()} == {"KILLED"}
    alone = quick(small, "model.dropout=0.05", "trainer.max_epochs=4")
    begun = {run.info.run_id for run in disturbed.seeds()}
    assert disturbed.run("train", *alone, "name=alone").returncode == 0
    [alone] = [run for run in disturbed.seeds() if run.info.status == "FINISHED"]
    assert alone.info.run_id not in begun, "half of it would be by other random numbers"
    disturbed.client.delete_run(alone.info.run_id)
    assert disturbed.run("train", *quick(small, *many)).returncode == 0
    by_dropout = [
        {
            run.data.params["model.dropout"]: {
                name: disturbed_or_not.history(run.info.run_id, name) for name in COMPUTED
            }
            for run in disturbed_or_not.seeds()
        }
        for disturbed_or_not in (undisturbed, disturbed)
    ]
    assert set(by_dropout[0]) == {"0.05", "0.2"}
    assert by_dropout[0] == by_dropout[1]
