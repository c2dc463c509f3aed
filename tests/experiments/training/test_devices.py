"""Runs that move between devices, on a pretended GPU."""

from contextlib import nullcontext

import pytest
from conftest import EPOCH_METRICS, Workplace, quick
from pretended import pretended_gpu

from experiments.training import outputs
from experiments.training.history import History
from models.lightning.classifier import Classifier


@pytest.fixture
def train_on(workplace, small, run_here, monkeypatch):
    """Train on "gpu" or "cpu" from the last checkpoint, and stop in epoch `killed_in`, or before
    the weights are scored if there is no such epoch; the output of what was not stopped."""

    def run(device: str, *overrides: str, place=workplace, killed_in: int | None = None) -> str:
        def kill(module: Classifier, *_) -> None:
            if module.current_epoch + 1 == killed_in:
                raise KeyboardInterrupt

        monkeypatch.setattr(Classifier, "on_train_batch_end", kill)
        monkeypatch.setattr(Classifier, "on_train_end", kill)
        short = ("trainer.max_epochs=4", "+trainer.limit_train_batches=3", "data.batch_size=64")
        given = quick(small, *short, "data.holdout=500", f"trainer.accelerator={device}", "name=it")
        with pretended_gpu() if device == "gpu" else nullcontext():
            status, output, errors = run_here("train", *place.places, *given, *overrides)
        assert status == (130 if killed_in else 0), errors
        return output

    return run


def test_a_run_moves_between_devices_and_says_so(workplace, train_on, monkeypatch):
    """From a GPU to the CPU and back; the best epoch is of the GPU, and is scored on the CPU."""
    monkeypatch.setattr(outputs, "log_artifacts", lambda *_: None)  # these take a second
    train_on("gpu", killed_in=2)
    train_on("cpu", killed_in=3)
    train_on("gpu", killed_in=5)
    output = train_on("cpu")
    [run] = workplace.seeds()
    tags, metrics = run.data.tags, run.data.metrics
    changes = (
        "epochs 1 to 1 on cuda by eager; epochs 2 to 2 on cpu by native (resumed); "
        "epochs 3 to 4 on cuda by eager (resumed); scored on cpu (resumed)"
    )
    assert tags["backend.changes"] == changes
    assert f"trained in more than one way: {changes}" in output
    assert (tags["backend"], tags["begun.device"], tags["device"]) == ("eager", "cuda", "cpu")
    assert metrics["val/best_epoch"] in (3, 4)
    assert metrics["test/acc"] > 0.1


def test_what_changed_has_its_reason(tmp_path):
    history = History([], tmp_path)
    eager, graphs = ("cuda", "eager, as no Triton is here"), ("cuda", "CUDA graphs")
    history.trained_by = [graphs, graphs, eager, ("cuda", "eager")]
    history.resumed = [0, 2]
    assert history.changes("cuda") == (
        "epochs 1 to 2 on cuda by CUDA graphs; epochs 3 to 3 on cuda by eager, as no Triton is "
        "here (resumed); epochs 4 to 4 on cuda by eager (batches of another size)"
    )
    history.trained_by = [graphs] * 4  # whoever trained them
    assert history.changes("cuda") is None


@pytest.mark.slow
def test_fused_runs_go_on_after_a_kill_and_move_between_devices(tmp_path_factory, train_on):
    """Killed and resumed on a GPU, which leaves no trace; then on the CPU, and on the GPU again,
    where the pretended one differs from the CPU by the last digits. Dropout draws other numbers."""
    stayed, moved = (Workplace(tmp_path_factory.mktemp(name)) for name in ("stayed", "moved"))
    many = ("fused.seed=2", "model.dropout=0")
    assert "trained in more than one way" not in train_on("gpu", *many, place=stayed)
    for device, epoch in (("gpu", 2), ("gpu", 3), ("cpu", 4)):
        train_on(device, *many, place=moved, killed_in=epoch)
    output = train_on("gpu", *many, place=moved)
    changes = (
        "epochs 1 to 2 on cuda by eager; epochs 3 to 3 on cpu by eager (resumed); "
        "epochs 4 to 4 on cuda by eager (resumed)"
    )
    assert f"trained in more than one way: {changes}" in output
    assert [run.data.tags["backend.changes"] for run in moved.seeds()] == [changes] * 2
    for name in sorted(EPOCH_METRICS - {"epoch_seconds"}):
        whole, parts = (
            {run.info.run_name: place.history(run.info.run_id, name) for run in place.seeds()}
            for place in (stayed, moved)
        )
        assert len(whole) == 2
        for seed, epochs in whole.items():
            assert parts[seed][:2] == epochs[:2], name
            for one, other in zip(parts[seed], epochs, strict=True):
                assert one == pytest.approx(other, abs=2e-3), name
