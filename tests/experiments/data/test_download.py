"""Data is fetched whole, checked, mended, and never taken damaged."""

import hashlib
import shutil

import pytest
from conftest import MNIST, one_line
from hydra import compose, initialize_config_dir

from experiments.cli.errors import UserError
from experiments.cli.program import CONF
from experiments.data.download import fetch

FILES = sorted(path.name for path in MNIST.glob("*-ubyte"))
OFFLINE = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")


def data(root, *overrides):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        return compose("train", overrides=[f"data.root={root}", *overrides]).data


def digests(folder):
    return {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in FILES}


@pytest.fixture
def copy(tmp_path):
    """A data folder with files of its own."""
    folder = tmp_path / "MNIST" / "raw"
    shutil.copytree(MNIST, folder)
    return folder


def test_mnist_is_fetched_from_wherever_it_is_to_be_had(tmp_path):
    mnist = data(tmp_path / "new")
    fetch(mnist)
    assert digests(tmp_path / "new" / "MNIST" / "raw") == dict(mnist.source.md5)


@pytest.mark.parametrize("damage", ["truncated", "one bit", "missing"])
def test_a_damaged_file_is_replaced(copy, damage):
    victim = copy / "train-images-idx3-ubyte"
    content = bytearray(victim.read_bytes())
    if damage == "truncated":
        victim.write_bytes(content[:1_000_000])
    elif damage == "one bit":
        content[20_000_000] ^= 1
        victim.write_bytes(content)
    else:
        victim.unlink()
    mnist = data(copy.parents[1])
    fetch(mnist)
    assert digests(copy) == dict(mnist.source.md5)


def test_what_a_killed_fetch_left_behind_is_cleared(copy):
    leftover = copy.parents[1] / ".fetch-killed"
    leftover.mkdir()
    (copy / FILES[0]).unlink()
    fetch(data(copy.parents[1]))
    assert not leftover.exists()


def test_intact_data_needs_neither_network_nor_a_writable_folder(copy, monkeypatch):
    for name, proxy in OFFLINE.items():
        monkeypatch.setenv(name, proxy)
    copy.parents[1].chmod(0o555)
    fetch(data(copy.parents[1]))
    assert not (copy.parents[1] / ".lock").exists()


def test_without_network_a_damaged_file_stops_the_run(copy, workplace):
    victim = copy / "t10k-labels-idx1-ubyte"
    victim.write_bytes(victim.read_bytes()[:5_000])
    result = workplace.run("train", "step=s13", f"data.root={copy.parents[1]}", **OFFLINE)
    complaint = result.stderr.strip().splitlines()[-1]
    assert result.returncode == 1
    assert complaint.startswith("error: MNIST cannot be had: t10k-labels-idx1-ubyte is damaged")
    assert "data=idx data.root=FOLDER" in complaint
    assert "Traceback" not in result.stderr
    assert not workplace.runs()
    assert not list(copy.parents[1].glob(".fetch-*"))


def test_a_folder_that_cannot_be_written_is_named(workplace):
    result = workplace.run("fetch", "data.root=/dev/null/data")
    assert "data.root=/dev/null/data: cannot be written: Not a directory" in one_line(result)


def test_checksums_of_sets_without_published_ones_are_those_first_fetched(copy):
    """KMNIST has MNIST's file names, and no checksums of its unpacked files are published."""
    root = copy.parents[1]
    (root / "KMNIST").mkdir()
    shutil.move(copy, root / "KMNIST" / "raw")
    kmnist = data(root, "data=kmnist")
    from experiments.data.download import _damage

    folder = root / "KMNIST" / "raw"
    assert _damage(folder, kmnist.source) == f"no verified files in {folder}"  # never vouched for
    assert _damage(folder, kmnist.source, record=True) is None
    assert _damage(folder, kmnist.source) is None
    (folder / FILES[0]).write_bytes(b"half")
    assert _damage(folder, kmnist.source) == f"{FILES[0]} is damaged"


@pytest.mark.parametrize("name", ["fashion_mnist", "kmnist", "qmnist", "emnist"])
def test_a_set_that_cannot_be_had_says_so(tmp_path, monkeypatch, name):
    for variable, proxy in OFFLINE.items():
        monkeypatch.setenv(variable, proxy)
    with pytest.raises(
        UserError, match=r"cannot be had: no verified files in|is missing, and fetching"
    ):
        fetch(data(tmp_path, f"data={name}"))
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
