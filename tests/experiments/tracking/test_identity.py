"""A run is its configuration and its images, however typed and wherever the files lie."""

import shutil
from functools import partial

import conftest
import pytest
from conftest import composing, one_line, quick

from experiments.cli.compose import compose
from experiments.tracking.identity import (
    PART,
    config_hash,
    name_experiment,
    step_number,
    with_override,
)

configure = partial(conftest.configure, "train")
EPOCH = "trainer.max_epochs=1"


def test_other_images_are_another_run_and_damaged_ones_are_refused(workplace, small, tmp_path):
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        shutil.copytree(small, folder)
        assert workplace.run("train", *quick(folder, EPOCH)).returncode == 0
    assert len(workplace.seeds()) == 1  # equal images in two folders are the same
    labels = folders[1] / "train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1] + bytes([(labels.read_bytes()[-1] + 1) % 10]))
    assert workplace.run("train", *quick(folders[1], EPOCH)).returncode == 0
    runs = workplace.seeds()
    for tag in ("data.digest", "mlflow.parentRunId"):
        assert len({run.data.tags[tag] for run in runs}) == 2
    for run in runs:
        used = {(each.tags[0].value, each.dataset.name) for each in run.inputs.dataset_inputs}
        assert used == {("training", "IDXFolder train"), ("validation", "IDXFolder val")}
        digests = {each.dataset.digest for each in run.inputs.dataset_inputs}
        assert digests == {run.data.tags["data.digest"]}
    for damaged in folders:  # where it was trained before, and finished, too
        images = damaged / "train-images-idx3-ubyte"
        images.write_bytes(images.read_bytes()[:-1])
        line = one_line(workplace.run("train", *quick(damaged, EPOCH)))
        assert "train-images-idx3-ubyte: damaged" in line
    assert len(workplace.seeds()) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("optimizer.lr=1", "optimizer.lr=1.0"),
        ("model.dropout=0", "model.dropout=0.0"),
        ("augmentation.degrees=5", "augmentation.degrees=5.0"),
        ("optimizer.weight_decay=0", "seed=0"),
    ],
)
def test_equal_numbers_are_one_identity_with_one_name(one, other):
    found = []
    for typed in (one, other):
        with composing():
            cfg = compose("train", ["step=s13", typed])
            found.append((config_hash(cfg), name_experiment(cfg, "train", ["step=s13", typed])))
    assert found[0] == found[1]


def test_one_batch_is_not_all_of_them():
    """Lightning's 1 is one batch, and its 1.0 all batches."""
    limits = ("limit_train_batches", "limit_val_batches")
    hashes = set()
    for pair in (("1", "1.0"), ("1.0", "1"), ("1", "1")):
        given = [f"+trainer.{key}={value}" for key, value in zip(limits, pair, strict=True)]
        hashes.add(config_hash(configure("step=s13", *given)))
    assert len(hashes) == 3


@pytest.mark.slow
def test_equal_values_typed_differently_are_one_arm(workplace, small, run_here, tmp_path):
    for seed, rate in enumerate(("0.02", "2e-2", "0.020")):
        overrides = (f"optimizer.lr={rate}", f"seed={seed}", EPOCH)
        assert workplace.run("train", *quick(small, *overrides)).returncode == 0
    table = tmp_path / "arms.csv"
    place = (f"tracking.uri={workplace.uri}", f"csv={table}")
    assert run_here("compare", *place)[0] == 0
    [_, row] = table.read_text().splitlines()
    assert row.startswith('"step 13, data=idx, optimizer.lr=0.02, trainer.max_epochs=1",s13,')
    assert ",0 1 2," in row


def test_an_override_takes_its_place_among_those_of_a_name():
    name = "step 13, model.widths=[8,8], seed=a, b"
    assert with_override(name, "optimizer.lr=1") == (
        "step 13, model.widths=[8,8], optimizer.lr=1, seed=a, b"
    )
    assert with_override(f"step 1{PART}", "optimizer.lr=1") == f"step 1, optimizer.lr=1{PART}"


def test_identity_is_the_experiment_not_the_place():
    base = config_hash(configure("step=s13"))
    for same in (
        "data.root=/other",
        "trainer.accelerator=cpu",
        "tracking.uri=http://server",
        "checkpoints.root=/tmp",
        "budget.parameters=9000",
        "force=true",
    ):
        assert config_hash(configure("step=s13", same)) == base, same
    for other in ("seed=1", "optimizer.lr=0.02", "model.dropout=0.1", "data=fashion_mnist"):
        assert config_hash(configure("step=s13", other)) != base, other


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["step=s07", "seed=3", "data.root=/tmp", "launcher=local"], "step 7"),
        (["step=s13", "optimizer.lr=0.03"], "step 13, optimizer.lr=0.03"),
        (["step=s13", "optimizer.lr=3e-2"], "step 13, optimizer.lr=0.03"),
        (["step=s13", "optimizer.lr=0.019"], "step 13"),  # its own rate
        (
            ["model.widths=[ 8,8 ,12,12,10]", "step=s13", "data.batch_size=32"],
            "step 13, data.batch_size=32, model.widths=[8,8,12,12,10]",
        ),
        (["step=found/hand", "optimizer=adam"], "found/hand, optimizer=adam"),
        (["step=s13", "++model.bias=true"], "step 13, model.bias=true"),
        ([], "custom"),
    ],
)
def test_a_name_has_what_differs_from_the_step_however_it_was_typed(overrides, name):
    with composing():
        cfg = compose("train", overrides)
        assert name_experiment(cfg, "train", overrides) == name


@pytest.mark.parametrize(
    ("step", "number"),
    [("s09", 9), ("step 9", 9), ("s13", 13), ("", None), ("found/s09", None), ("s9 again", None)],
)
def test_a_numbered_step_has_its_number_in_its_file_and_in_its_name(step, number):
    assert step_number(step) == number
