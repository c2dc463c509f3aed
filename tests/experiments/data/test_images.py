"""Every data set by its configuration, from files under their publishers' names."""

import json
import struct
from functools import partial

import conftest
import pytest
import torch
from conftest import idx

from experiments.cli.errors import UserError
from experiments.data.download import CHECKSUMS, checksums
from experiments.data.idx import IDXFolder
from experiments.data.images import Batches, Images, load

configure = partial(conftest.configure, "train")


def lay_out(folder, small, images: str, labels: str, splits=("train", "t10k"), change=lambda x: x):
    """Write the small data set under other names, its images changed by `change`."""
    folder.mkdir(parents=True)
    for train, split in zip((True, False), splits, strict=True):
        data = IDXFolder(str(small), train)
        idx(folder / images.format(split), change(data.data).contiguous())
        if labels.endswith("int"):  # QMNIST: class, series, writer, and more
            rows = torch.zeros(len(data.targets), 8, dtype=torch.int32)
            rows[:, 0] = data.targets
            header = struct.pack(">HBB2I", 0, 0x0C, 2, *rows.shape)
            (folder / labels.format(split)).write_bytes(
                header + rows.numpy().astype(">i4").tobytes()
            )
        else:
            idx(folder / labels.format(split), data.targets)


@pytest.mark.parametrize(
    ("name", "folder", "images", "labels", "options"),
    [
        ("kmnist", "KMNIST", "{}-images-idx3-ubyte", "{}-labels-idx1-ubyte", {}),
        (
            "qmnist",
            "QMNIST",
            "qmnist-{}-images-idx3-ubyte",
            "qmnist-{}-labels-idx2-int",
            {"splits": ("train", "test")},
        ),
        (
            "emnist",
            "EMNIST",
            "emnist-balanced-{}-images-idx3-ubyte",
            "emnist-balanced-{}-labels-idx1-ubyte",
            {"splits": ("train", "test"), "change": lambda images: images.mT},
        ),
    ],
)
def test_sets_are_read_upright_and_with_their_classes(
    tmp_path, small, name, folder, images, labels, options
):
    lay_out(tmp_path / folder / "raw", small, images, labels, **options)
    cfg = configure(f"data={name}", f"data.root={tmp_path}")
    files = tmp_path / folder / "raw"
    (files / CHECKSUMS).write_text(json.dumps(checksums(files, cfg.data.source)))
    data, digest = load(cfg)
    for ours, train in ((data.train, True), (data.val, False)):
        expected = IDXFolder(str(small), train)
        assert torch.equal(ours.images[:, 0], expected.data)
        assert torch.equal(ours.labels, expected.targets.long())
    assert digest == load(configure("data=idx", f"data.root={small}"))[1]


def test_other_data_has_another_digest(tmp_path, small):
    lay_out(tmp_path / "other", small, "{}-images", "{}-labels", change=lambda images: 255 - images)
    digests = {
        load(configure("data=idx", f"data.root={f}"))[1] for f in (small, tmp_path / "other")
    }
    assert len(digests) == 2


def test_labels_beyond_the_classes_are_refused(small):
    with pytest.raises(UserError, match=r"data.num_classes is 9, but the labels"):
        load(configure("data=idx", f"data.root={small}", "data.num_classes=9"))


def test_an_epoch_has_each_image_once_in_an_order_of_its_seed():
    data = Images(torch.arange(10).view(10, 1, 1, 1), torch.arange(10))
    batches = Batches(data, 4, shuffle=True)
    orders = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        pairs = list(batches)
        assert [len(labels) for _, labels in pairs] == [4, 4, 2]
        assert len(batches) == 3
        assert all(torch.equal(images.flatten(), labels) for images, labels in pairs)
        orders.append(torch.cat([labels for _, labels in pairs]).tolist())
    assert sorted(orders[0]) == list(range(10))
    assert orders[0] == orders[1] != orders[2]


def test_validation_keeps_its_order():
    data = Images(torch.arange(10).view(10, 1, 1, 1), torch.arange(10))
    assert torch.cat([labels for _, labels in Batches(data, 4)]).tolist() == list(range(10))


def test_images_held_out_are_training_images_and_the_same_for_all(small):
    cfg = configure("data=idx", f"data.root={small}", "data.holdout=500")
    data, _ = load(cfg)
    assert (len(data.train.labels), len(data.val.labels)) == (1500, 500)
    both = torch.cat((data.train.images, data.val.images)).flatten(1)
    training = load(configure("data=idx", f"data.root={small}"))[0].train.images.flatten(1)
    assert sorted(both.tolist()) == sorted(training.tolist())
    assert torch.equal(load(cfg)[0].val.images, data.val.images)


def test_a_holdout_of_all_images_is_refused(small):
    with pytest.raises(UserError, match=r"data\.holdout"):
        load(configure("data=idx", f"data.root={small}", "data.holdout=2000"))


def test_only_the_chosen_classes_are_read_in_the_files_order():
    data, _ = load(configure("experiment=zero_vs_five"))
    assert [len(part.labels) for part in (data.train, data.val)] == [5923 + 5421, 980 + 892]
    assert data.train.labels.unique().tolist() == data.val.labels.unique().tolist() == [0, 5]
    _, labels = next(iter(data.train_dataloader()))
    assert torch.equal(labels, data.train.labels[:4])
    data.fused_seeds = [0, 1]
    _, labels = next(iter(data.train_dataloader()))
    assert torch.equal(labels, data.train.labels[:4].expand(2, 4))


def test_classes_that_do_not_occur_are_an_error(small):
    with pytest.raises(UserError, match=r"train images .*: there are none of data.classes=\[12\]"):
        load(configure("data=idx", f"data.root={small}", "data.classes=[12]"))
