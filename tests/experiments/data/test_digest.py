"""The digest of images is kept once, whatever is done with the images afterwards."""

import os
import shutil

import pytest
from conftest import configure, quick

from experiments.data.digest import KEPT, fingerprint, keep_digest, known_digest


@pytest.fixture(scope="module")
def usual():
    return fingerprint(configure("train"))


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("data.batch_size=7", True),
        ("data.mean=0", True),
        ("data.shuffle=false", True),
        ("data.holdout=100", False),
        ("data.classes=[1]", False),
        ("data.num_classes=5", False),  # labels are checked against it when they are read
    ],
)
def test_what_decides_which_images_are_read(usual, override, same):
    assert (fingerprint(configure("train", override)) == usual) == same


def test_a_file_that_was_replaced_at_the_same_time_and_size_is_another(small, tmp_path):
    """As `rsync -t` and `tar` leave it."""
    shutil.copytree(small, tmp_path / "data")
    cfg = configure("train", "data=idx", f"data.root={tmp_path}/data")
    before, labels = fingerprint(cfg), tmp_path / "data" / "train-labels-idx1-ubyte"
    facts = labels.stat()
    labels.write_bytes(labels.read_bytes()[:-1] + b"\x03")
    os.utime(labels, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert (labels.stat().st_size, labels.stat().st_mtime_ns) == (facts.st_size, facts.st_mtime_ns)
    assert fingerprint(cfg) != before


def test_a_folder_that_cannot_be_written_keeps_none():
    cfg = configure("train", "data=idx", "data.root=/proc/self")  # not even by root
    keep_digest(cfg, "0" * 12)
    assert known_digest(cfg) is None


@pytest.mark.slow
def test_a_finished_run_is_found_without_reading_the_images_again(workplace, small, tmp_path):
    shutil.copytree(small, tmp_path / "data")
    command = quick(tmp_path / "data", "trainer.max_epochs=1")
    assert workplace.run("train", *command).returncode == 0
    kept = tmp_path / "data" / KEPT
    before = kept.stat().st_mtime_ns
    again = workplace.run("train", *command)
    assert "trained before" in again.stdout
    assert len(again.stderr.splitlines()) == 2, "it says nothing of images"
    assert kept.stat().st_mtime_ns == before
    kept.write_text("{")  # damaged: the images are read again
    assert "trained before" in workplace.run("train", *command).stdout
