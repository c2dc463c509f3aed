"""A run is its configuration and its images, however typed and wherever the files lie."""

import shutil

from conftest import one_line, quick

from experiments.data.digest import KEPT

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
    assert again.stderr == "", "of what it would train"
    assert kept.stat().st_mtime_ns == before
    kept.write_text("{")  # damaged: the images are read again
    assert "trained before" in workplace.run("train", *command).stdout


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
