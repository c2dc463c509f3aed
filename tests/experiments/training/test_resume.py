"""Checkpoints on a disk that is full, and checkpoints that are damaged."""

import resource
import time
from collections.abc import Callable

import pytest
import torch
from conftest import configure, quick, trainer_of

from experiments.budget.network import build_network
from experiments.cli.errors import UserError
from experiments.cli.files import write
from experiments.data import images
from experiments.tracking.run import TrackedRun
from experiments.tracking.store import Store
from experiments.training.module import make_module, predict
from experiments.training.resume import (
    BEFORE,
    LAST,
    WholeFiles,
    find_whole,
    training_errors,
)
from experiments.training.trainer import fit_from

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "cut at the start": lambda content: content[:100],
    "cut at the end": lambda content: content[:-100],
    "zeros": lambda content: bytes(len(content)),
    "text": lambda content: b"not a checkpoint",
}


@pytest.fixture
def full_disk(monkeypatch):
    """Lets no file grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_training_goes_on_from_the_checkpoint_before_a_damaged_one(workplace, small, capsys):
    folder = workplace.folder

    def train(epochs: int):
        overrides = (f"data.root={small}", f"trainer.max_epochs={epochs}")
        cfg = configure("train", "data=idx", "trainer.accelerator=cpu", *overrides)
        data, _ = images.load(cfg)
        module, trainer = make_module(cfg, build_network(cfg), 2000), trainer_of(cfg, workplace)
        fit_from(folder / LAST, trainer, module, data)

    train(2)
    (folder / LAST).write_bytes((folder / LAST).read_bytes()[:1000])
    train(3)
    assert "last.ckpt: damaged" in capsys.readouterr().err
    epochs = [torch.load(folder / name, weights_only=True)["epoch"] for name in (BEFORE, LAST)]
    assert epochs == [1, 2]
    assert (folder / "last.ckpt.damaged").stat().st_size == 1000


@pytest.mark.slow
def test_averaged_weights_are_validated_and_kept_and_go_on(workplace, small):
    ema = "{_target_: pytorch_lightning.callbacks.EMAWeightAveraging, decay: 0.9}"

    def train(name: str, *epochs: int):
        for count in epochs:
            overrides = (f"data.root={small}", f"trainer.max_epochs={count}")
            chosen = ("data=idx", "augmentation=affine", f"+trainer.callbacks={ema}")
            cfg = configure("train", *chosen, *overrides)
            data, _ = images.load(cfg)
            module, trainer = make_module(cfg, build_network(cfg), 2000), trainer_of(cfg, workplace)
            fit_from(workplace.folder / name / LAST, trainer, module, data)
            (workplace.folder / name).mkdir(exist_ok=True)
            (workplace.folder / LAST).replace(workplace.folder / name / LAST)
        seen = predict(module, data.val.images, 100, torch.device("cpu"))
        accuracy = float(trainer.callback_metrics["val/acc"])
        assert (seen == data.val.labels).double().mean() == pytest.approx(accuracy)
        return module.network.state_dict()

    straight, resumed = train("straight", 2), train("resumed", 1, 2)
    assert all(torch.equal(straight[key], resumed[key]) for key in straight)
    kept = torch.load(workplace.folder / "straight" / LAST, weights_only=True)
    key = next(iter(kept["state_dict"]))
    assert torch.equal(kept["state_dict"][key], straight[key.removeprefix("network.")])
    assert not torch.equal(kept["state_dict"][key], kept["current_model_state"][key])


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_every_damage_is_found(tmp_path, damage):
    last, whole = tmp_path / LAST, {"pytorch-lightning_version": "2", "x": torch.zeros(1000)}
    for _ in range(2):
        WholeFiles().save_checkpoint(whole, last)
    assert find_whole(last) == last
    last.write_bytes(damage(last.read_bytes()))
    assert find_whole(last) == last.with_name(BEFORE)
    last.with_name(BEFORE).write_bytes(b"")
    assert find_whole(last) is None


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, full_disk):
    last, whole = tmp_path / LAST, {"pytorch-lightning_version": "2", "x": torch.zeros(10000)}
    WholeFiles().save_checkpoint(whole, last)
    full_disk(5000)
    with pytest.raises(UserError, match=r"last.ckpt.*: cannot be written: File too large"):
        WholeFiles().save_checkpoint(whole, last)
    assert find_whole(last) == last
    assert len(list(tmp_path.iterdir())) == 1


def test_what_interrupts_between_two_checkpoints_leaves_the_last(tmp_path, monkeypatch):
    last, whole = tmp_path / LAST, {"pytorch-lightning_version": "2", "x": torch.zeros(1000)}
    for epoch in range(2):
        WholeFiles().save_checkpoint(whole | {"epoch": epoch}, last)

    def interrupted(path, content):
        if path == last:
            raise KeyboardInterrupt
        write(path, content)

    monkeypatch.setattr("experiments.training.resume.write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        WholeFiles().save_checkpoint(whole | {"epoch": 2}, last)
    assert torch.load(last, weights_only=True)["epoch"] == 1


EPOCH = "trainer.max_epochs=1"


@pytest.mark.slow
def test_a_run_that_another_machine_trains_is_not_gone_on_with(workplace, small, tmp_path):
    command = quick(small, EPOCH)
    assert workplace.run("train", *command).returncode == 0
    [theirs] = workplace.seeds()
    workplace.client.update_run(theirs.info.run_id, status="RUNNING")
    other = f"checkpoints.root={tmp_path}/another-machine"
    assert workplace.run("train", *command, other).returncode == 0
    ours, same = workplace.seeds()
    assert (ours.info.status, same.info.status) == ("FINISHED", "RUNNING")
    assert len(workplace.history(same.info.run_id, "val/acc")) == 1


def test_a_run_that_is_deleted_while_it_trains_ends_at_once_and_says_why(workplace):
    """Waiting for the store, here for a minute, does not bring it back."""
    store = Store(configure("train", *workplace.places[:2]).tracking)
    run = TrackedRun(store, "run", {}, resume=None)
    store.client.delete_run(run.id)
    started = time.monotonic()
    with pytest.raises(UserError) as error, training_errors(workplace.folder):
        run.log_metrics({"parameters": 1}, time=1)
    assert time.monotonic() - started < 30
    assert "Current state is deleted.; restore it in MLflow; the run's" in str(error.value)
