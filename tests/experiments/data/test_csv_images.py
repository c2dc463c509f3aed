"""Images in CSV files: read fast; an error is one line that names the place."""

import time
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import torch
from pyarrow.csv import write_csv

from experiments.cli.errors import UserError
from experiments.data.csv_images import CSVFolder, read_csv_images

HEADER = "label,pixel0,pixel1,pixel2,pixel3"
ROWS = ["7,0,1,2,3", "0,255,0,10,20", "9,1,1,1,1"]
GOOD = "\n".join([HEADER, *ROWS]) + "\n"


@pytest.fixture
def path(tmp_path):
    read_csv_images.cache_clear()
    return tmp_path / "train.csv"


@pytest.mark.parametrize(
    "content",
    [
        GOOD,
        GOOD.rstrip("\n"),
        GOOD.replace("\n", "\r\n"),
        "\ufeff" + GOOD,
        GOOD.replace("9,1,1,1,1", "\n9, 1,1,1,1"),
        GOOD.replace("0,255", '"0","255"').replace("label,pixel0", '"label","pixel0"'),
    ],
    ids=["plain", "no last newline", "Windows", "byte order mark", "spaces", "quotes"],
)
def test_rows_become_images(path, content):
    path.write_bytes(content.encode())
    images, labels = read_csv_images(path, 10)
    assert labels.tolist() == [7, 0, 9]
    assert images.dtype == torch.uint8
    assert images.tolist() == [[[0, 1], [2, 3]], [[255, 0], [10, 20]], [[1, 1], [1, 1]]]


def test_columns_may_come_in_any_order_and_without_labels(path):
    path.write_text("pixel2,pixel0,pixel1,pixel3\n2,0,1,3\n")
    images, labels = read_csv_images(path, 10)
    assert images.tolist() == [[[0, 1], [2, 3]]]
    assert labels is None


def with_row(row: str) -> str:
    return GOOD.replace(ROWS[1], row)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\n".join(ROWS),
        GOOD.replace("pixel2", "pixel1"),
        GOOD.replace(",", ";"),
        "label,pixel0,pixel1\n1,2,3\n",
        "label\n1\n",
    ],
    ids=["empty", "none", "twice", "semicolons", "not square", "no pixels"],
)
def test_a_bad_header_is_refused(path, content):
    path.write_text(content)
    with pytest.raises(UserError, match=r"train.csv: (the first line must be|Empty CSV)"):
        read_csv_images(path, 10)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (HEADER + "\n", "has no rows under its header"),
        (with_row("0,255,0,10"), "Row #3: Expected 5 columns, got 4"),
        (
            with_row("0,255,dark,10,20"),
            "column #2: Row #3: .* invalid value 'dark' .*expected: square",
        ),
        (with_row("0,255,,10,20"), "column #2: Row #3: .* invalid value ''"),
        (with_row("0,256,0,10,20"), "column #1: Row #3: .* invalid value '256'"),
        (with_row("0,255,0,0.5,20"), "column #3: Row #3: .* invalid value '0.5'"),
        (with_row("0,255,0," + "9" * 400 + ",20"), "column #3: Row #3: .* invalid value '9"),
        (with_row("10,255,0,10,20"), "Row #3: 10 is not a label below 10"),
        (with_row('0,"255,0,10,20'), "Row #3: Expected 5 columns, got 2"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "(utf-8|UTF8|UTF-8|CSV)"),
        (GOOD.encode() + b"\xff\xfe,1,1,1,1\n", "(utf-8|UTF8|UTF-8|CSV)"),
    ],
)
def test_a_bad_cell_is_named_by_row_and_column(path, content, complaint):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=complaint) as error:
        read_csv_images(path, 10)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < len(str(path)) + 600


def test_only_a_file_is_read(path):
    with pytest.raises(UserError, match=r"train.csv is missing: put the competition's files"):
        CSVFolder(str(path.parent), True, 1, 10)
    path.mkdir()
    with pytest.raises(UserError, match=r"train.csv: is not a file"):
        read_csv_images(path, 10)


def test_the_last_rows_are_held_out(path):
    path.write_text(GOOD)
    parts = [CSVFolder(str(path.parent), train, 1, 10) for train in (True, False)]
    assert [part.targets.tolist() for part in parts] == [[7, 0], [9]]
    assert [len(part.data) for part in parts] == [2, 1]
    for held_out in (3, 4):
        with pytest.raises(UserError, match=r"data\.held_out must be above 0 and below 3"):
            CSVFolder(str(path.parent), True, held_out, 10)


def test_training_needs_labels(path):
    path.write_text("pixel0,pixel1,pixel2,pixel3\n1,2,3,4\n5,6,7,8\n")
    with pytest.raises(UserError, match="has no column label"):
        CSVFolder(str(path.parent), True, 1, 10)


def test_thousands_of_rows_take_a_second(path: Path):
    rows = np.random.default_rng(0).integers(0, 256, (6000, 785))
    rows[:, 0] %= 10
    write_csv(pyarrow.table(list(rows.T), ["label", *(f"pixel{i}" for i in range(784))]), path)
    started = time.process_time()
    images, labels = read_csv_images(path, 10)
    assert time.process_time() - started < 1
    assert images.shape == (6000, 28, 28)
    assert images.flatten(1)[-1].tolist() == rows[-1, 1:].tolist()
    assert labels[-1] == rows[-1, 0]
