import gzip

import pytest
import torch
from conftest import MNIST, idx

from experiments.cli.errors import UserError
from experiments.data.idx import IDXFolder, read_idx


def test_real_mnist_is_read_as_torchvision_reads_it():
    from torchvision.datasets import MNIST as Torchvision

    ours, theirs = IDXFolder(str(MNIST), train=False), Torchvision(MNIST.parents[1], train=False)
    assert torch.equal(ours.data, theirs.data)
    assert torch.equal(ours.targets, theirs.targets)


def test_gzipped_files_are_read(tmp_path):
    array = torch.arange(24, dtype=torch.uint8).view(2, 3, 4)
    idx(tmp_path / "plain", array)
    zipped = tmp_path / "zipped.gz"
    zipped.write_bytes(gzip.compress((tmp_path / "plain").read_bytes()))
    assert torch.equal(read_idx(zipped), array)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda content: content[:-1], "damaged, .* cannot reshape array of size 23"),
        (lambda content: content + b"x", "damaged, .* cannot reshape array of size 25"),
        (lambda content: b"", "not an IDX file"),
        (lambda content: content[:6], "buffer is smaller"),
        (lambda content: b"<html>no such page</html>", "not an IDX file"),
        (lambda content: b"\0\0\x0d" + content[3:], "not an IDX file of unsigned bytes"),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_a_damaged_file_is_named(tmp_path, damage, complaint, zipped):
    path = tmp_path / "file"
    idx(path, torch.zeros(2, 3, 4, dtype=torch.uint8))
    content = damage(path.read_bytes())
    if zipped:
        path = tmp_path / "file.gz"
        content = gzip.compress(content)
    path.write_bytes(content)
    with pytest.raises(UserError, match=complaint) as error:
        read_idx(path)
    assert str(path) in str(error.value)


def test_a_half_written_archive_is_named(tmp_path):
    path = tmp_path / "file.gz"
    path.write_bytes(gzip.compress(bytes(10_000))[:20])
    with pytest.raises(UserError, match="cannot be read"):
        read_idx(path)


def test_a_folder_without_the_files_is_named(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path}: has no file train-images"):
        IDXFolder(str(tmp_path), train=True)
