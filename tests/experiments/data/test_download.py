"""Data is fetched complete, verified, repaired, and never used damaged."""

import hashlib
import json
import shutil

import pytest
from conftest import MNIST, PROJECT, configure

from experiments.cli.errors import UserError
from experiments.data.download import CHECKSUMS, checksums, fetch, find_damage

FILES = sorted(path.name for path in MNIST.glob("*-ubyte"))


def data(root, *overrides):
    return configure("train", f"data.root={root}", *overrides).data


def digests(folder):
    return {name: hashlib.md5((folder / name).read_bytes()).hexdigest() for name in FILES}


@pytest.fixture
def offline(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


@pytest.fixture
def copy(tmp_path):
    """A data folder with files of its own."""
    folder = tmp_path / "MNIST" / "raw"
    shutil.copytree(MNIST, folder)
    return folder


def test_every_damage_is_found(copy):
    source = data(copy.parents[1]).source
    victim = copy / "train-images-idx3-ubyte"
    content = bytearray(victim.read_bytes())
    assert find_damage(copy, source) is None
    victim.write_bytes(content[:1_000_000])
    assert find_damage(copy, source) == f"{victim.name}: missing or damaged"
    content[20_000_000] ^= 1
    victim.write_bytes(content)
    assert find_damage(copy, source) == f"{victim.name}: missing or damaged"
    victim.unlink()
    assert find_damage(copy, source) == f"{victim.name}: missing or damaged"


def test_mnist_is_fetched_over_damage_and_what_a_killed_process_left(tmp_path):
    folder, leftover = tmp_path / "MNIST" / "raw", tmp_path / ".fetch-killed"
    for path in (folder, leftover):
        path.mkdir(parents=True)
        (path / FILES[0]).write_bytes(b"half")
    mnist = data(tmp_path)
    fetch(mnist)
    assert digests(folder) == dict(mnist.source.md5)
    assert not leftover.exists()


def test_intact_data_needs_neither_network_nor_a_writable_folder(copy, offline):
    root = copy.parents[1]
    for folder in (root, copy):
        folder.chmod(0o555)
    before = {path: path.stat().st_mtime_ns for path in (root, *root.rglob("*"))}
    fetch(data(root))
    # root may write to any folder: for it this is what shows that nothing was written
    assert {path: path.stat().st_mtime_ns for path in (root, *root.rglob("*"))} == before


def test_without_network_a_damaged_file_is_an_error(copy, offline):
    victim = copy / "t10k-labels-idx1-ubyte"
    victim.write_bytes(victim.read_bytes()[:5_000])
    message = r"^MNIST cannot be fetched: .* missing or damaged, .*"
    with pytest.raises(UserError, match=message) as error:
        fetch(data(copy.parents[1]))
    assert "data=idx data.root=FOLDER" in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(copy.parents[1].glob(".fetch-*"))


def test_a_folder_that_cannot_be_written_is_named():
    complaint = "data.root=/dev/null/data: cannot be written: Not a directory"
    with pytest.raises(UserError, match=complaint):
        fetch(data("/dev/null/data"))


def test_without_published_checksums_those_first_fetched_count(tmp_path):
    """KMNIST has MNIST's file names, and no checksums of its unpacked files are published."""
    source = data(tmp_path, "data=kmnist").source
    for name in FILES:
        (tmp_path / name).write_bytes(b"as published")
    assert find_damage(tmp_path, source) == f"no verified files in {tmp_path}"
    found = checksums(tmp_path, source)
    assert found.keys() == set(FILES)
    (tmp_path / CHECKSUMS).write_text(json.dumps(found))
    assert find_damage(tmp_path, source) is None
    (tmp_path / FILES[0]).write_bytes(b"half")
    assert find_damage(tmp_path, source) == f"{FILES[0]}: missing or damaged"


@pytest.mark.parametrize("name", ["fashion_mnist", "emnist"])
def test_a_set_that_cannot_be_fetched_is_named(tmp_path, offline, name):
    with pytest.raises(UserError, match=r"MNIST cannot be fetched: .*and fetching failed"):
        fetch(data(tmp_path, f"data={name}"))
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("folder", ["../outside", "MNIST/../../outside", ".", "/nowhere"])
def test_a_folder_outside_of_the_root_is_refused(tmp_path, folder):
    outside = tmp_path / "outside"
    outside.mkdir()
    with pytest.raises(UserError, match=r"is not inside data\.root"):
        fetch(data(tmp_path / "root", f"data.source.folder={folder}"))
    assert outside.exists()


def test_a_damaged_record_of_checksums_verifies_nothing(tmp_path):
    source = data(tmp_path, "data.source.md5=null").source
    for text in ("{", "[1]", "\xff"):
        (tmp_path / CHECKSUMS).write_bytes(text.encode("latin-1"))
        assert find_damage(tmp_path, source) == f"no verified files in {tmp_path}"


def test_the_screen_is_as_kept(run_here, monkeypatch, screen):
    monkeypatch.chdir(PROJECT)
    _, output, errors = run_here("fetch", "data=mnist")
    screen("fetch", errors + output)
