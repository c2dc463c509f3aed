"""A run is its configuration and its images, however typed and wherever the files lie."""

import shutil

import pytest
from conftest import one_line, quick

from experiments.data.digest import KEPT
from experiments.reports.comparison import OTHER_IMAGES, compare
from experiments.tracking.arms import Arm

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


def test_a_finished_run_is_found_without_reading_the_images_again(workplace, small, tmp_path):
    shutil.copytree(small, tmp_path / "data")
    command = quick(tmp_path / "data", EPOCH)
    assert workplace.run("train", *command).returncode == 0
    kept = tmp_path / "data" / KEPT
    before = kept.stat().st_mtime_ns
    again = workplace.run("train", *command)
    assert "trained before" in again.stdout
    assert kept.stat().st_mtime_ns == before
    kept.write_text("{")  # damaged: the images are read again
    assert "trained before" in workplace.run("train", *command).stdout


def test_equal_values_typed_differently_are_one_arm(workplace, small, run_here, tmp_path):
    for seed, rate in enumerate(("0.02", "2e-2", "+0.02", "0.020", ".02")):
        overrides = (f"optimizer.lr={rate.lstrip('+')}", f"seed={seed}", EPOCH)
        assert workplace.run("train", *quick(small, *overrides)).returncode == 0
    table = tmp_path / "arms.csv"
    place = (f"tracking.uri={workplace.uri}", f"csv={table}")
    assert run_here("compare", *place)[0] == 0
    [_, row] = table.read_text().splitlines()
    assert row.startswith('"step 13, data=idx, optimizer.lr=0.02, trainer.max_epochs=1",s13,')
    assert ",0 1 2 3 4," in row


def test_a_run_that_another_machine_trains_is_not_gone_on_with(workplace, small, tmp_path):
    command = quick(small, EPOCH)
    assert workplace.run("train", *command).returncode == 0
    [theirs] = workplace.seeds()
    workplace.client.update_run(theirs.info.run_id, status="RUNNING")
    elsewhere = f"checkpoints.root={tmp_path}/another-machine"
    assert workplace.run("train", *command, elsewhere).returncode == 0
    ours, same = workplace.seeds()
    assert (ours.info.status, same.info.status) == ("FINISHED", "RUNNING")
    assert len(workplace.history(same.info.run_id, "val/acc")) == 1


def arm(name: str, step: str, digest: str, *scores: float) -> Arm:
    by_seed = {str(seed): score for seed, score in enumerate(scores)}
    facts = dict.fromkeys(("parameters", "mult_adds", "published_best", "published_last", "target"))
    others = {"changed": "", "failed": [], "device": "cpu", "runs": [], "parent": None}
    return Arm(name=name, step=step, scores=by_seed, digest=digest, **facts, **others)


ARMS = [
    arm("step 1", "s01", "digits", 0.98, 0.981, 0.982),
    arm("step 1 (other)", "s01", "clothes", 0.88, 0.881, 0.882),
    arm("step 2", "s02", "digits", 0.99, 0.991, 0.992),
    arm("step 2 (other)", "s02", "clothes", 0.89, 0.891, 0.892),
]


def test_arms_are_compared_with_the_one_before_on_the_same_images():
    rows = compare(ARMS)
    assert [row.against for row in rows] == ["", "", "step 1", "step 1 (other)"]
    assert [bool(row.difference) for row in rows] == [False, False, True, True]


def test_arms_judged_on_test_images_and_on_images_held_out_are_not_compared():
    trial = arm("step 2", "s02", "digits", 0.99, 0.991, 0.992)
    rows = compare([ARMS[0]._replace(metric="test/acc"), trial], "first")
    assert (rows[1].against, rows[1].difference) == (OTHER_IMAGES, None)


@pytest.mark.parametrize("against", ["first", "step 1"])
def test_arms_on_other_images_have_no_verdict_and_say_why(against):
    rows = compare(ARMS, against)
    assert [row.against for row in rows] == ["", OTHER_IMAGES, "step 1", OTHER_IMAGES]
    assert [bool(row.difference) for row in rows] == [False, False, True, False]
