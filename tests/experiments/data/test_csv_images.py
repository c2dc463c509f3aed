"""Images in CSV files: read fast, and what is wrong with a bad one said in a line."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.cli.errors import UserError
from experiments.data.csv_images import CSVFolder, read

HEADER = "label,pixel0,pixel1,pixel2,pixel3"
ROWS = ["7,0,1,2,3", "0,255,0,10,20", "9,1,1,1,1"]
GOOD = "\n".join([HEADER, *ROWS]) + "\n"


@pytest.fixture
def path(tmp_path):
    read.cache_clear()
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
    images, labels = read(path, 10)
    assert labels.tolist() == [7, 0, 9]
    assert images.dtype == torch.uint8
    assert images.tolist() == [[[0, 1], [2, 3]], [[255, 0], [10, 20]], [[1, 1], [1, 1]]]


def test_columns_may_come_in_any_order_and_without_labels(path):
    path.write_text("pixel2,pixel0,pixel1,pixel3\n2,0,1,3\n")
    images, labels = read(path, 10)
    assert images.tolist() == [[[0, 1], [2, 3]]]
    assert labels is None


def with_row(row: str) -> str:
    return GOOD.replace(ROWS[1], row)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "is empty"),
        (HEADER + "\n", "has no rows beneath its header"),
        ("\n".join(ROWS), "has no header; its first line must be label,pixel0"),
        (GOOD.replace("pixel2", "pixel4"), "the column pixel2 is missing"),
        (GOOD.replace("pixel2", "pixel1"), "has the column 'pixel1' twice"),
        (GOOD.replace("pixel2", "weight"), "has a column 'weight'; there must be none but label"),
        (GOOD.replace("label", "Label"), "has a column 'Label'"),
        (GOOD.replace(",pixel2", ", pixel2"), "has a column ' pixel2'"),
        ("label,pixel0,pixel1\n1,2,3\n", "has 2 pixels, which are no square image"),
        ("label\n1\n", "no header of columns with commas between them: 'label'"),
        (GOOD.replace(",", ";"), "no header of columns with commas between them"),
        (GOOD.replace(",", "\t"), "no header of columns with commas between them"),
        (with_row("0,255,0,10"), r"row 2 \(line 3\) has 4 cells, not 5"),
        (with_row("0,255,0,10,20,30"), r"row 2 \(line 3\) has 6 cells, not 5"),
        (with_row("0,255,dark,10,20"), "column pixel1: 'dark' is no whole number from 0 to 255"),
        (with_row("0,255,,10,20"), r"row 2 \(line 3\), column pixel1: '' is no whole number"),
        (with_row("0,255,nan,10,20"), "column pixel1: 'nan' is no whole number"),
        (with_row("0,256,0,10,20"), "column pixel0: '256' is no whole number from 0 to 255"),
        (with_row("0,255,0,-1,20"), "column pixel2: '-1' is no whole number"),
        (with_row("0,255,0,0.5,20"), "column pixel2: '0.5' is no whole number"),
        (with_row("0,255,0,1e2,20"), "column pixel2: '1e2' is no whole number"),
        (with_row("0,255,0,٣,20"), "column pixel2: '٣' is no whole number"),
        (with_row("0,255,0," + "9" * 400 + ",20"), r"column pixel2: '9{20}\.\.\.' is no whole"),
        (with_row("10,255,0,10,20"), r"row 2 \(line 3\), column label: '10' is no whole number fr"),
        (with_row("-1,255,0,10,20"), "column label: '-1' is no whole number from 0 to 9"),
        (with_row("five,255,0,10,20"), "column label: 'five' is no whole number from 0 to 9"),
        (with_row(",255,0,10,20"), "column label: '' is no whole number from 0 to 9"),
        (with_row('0,"255,0,10,20'), r"row 2 \(line 4\) has 2 cells, not 5"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "is not a text file of comma-separated values"),
        (GOOD.encode("utf-16"), "is not a text file of comma-separated values"),
        (GOOD.encode() + b"\xff\xfe,1,1,1,1\n", "is not a text file of comma-separated values"),
    ],
)
def test_a_bad_file_is_refused_with_row_and_column(path, content, complaint):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=complaint) as error:
        read(path, 10)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"train.csv is missing: put the competition's files"):
        CSVFolder(str(tmp_path), True, 1, 10)
    (tmp_path / "train.csv").mkdir()
    with pytest.raises(UserError, match=r"train.csv: cannot be read: Is a directory"):
        CSVFolder(str(tmp_path), True, 1, 10)


def test_the_last_rows_are_held_out(path):
    path.write_text(GOOD)
    parts = [CSVFolder(str(path.parent), train, 1, 10) for train in (True, False)]
    assert [part.targets.tolist() for part in parts] == [[7, 0], [9]]
    assert [len(part.data) for part in parts] == [2, 1]
    for held_out in (0, 3, -1, None):
        with pytest.raises(UserError, match=r"data.held_out must be from 1 to 2, as"):
            CSVFolder(str(path.parent), True, held_out, 10)


def test_training_needs_labels(path):
    path.write_text("pixel0,pixel1,pixel2,pixel3\n1,2,3,4\n5,6,7,8\n")
    with pytest.raises(UserError, match="has no column label"):
        CSVFolder(str(path.parent), True, 1, 10)


def test_the_competition_s_42_000_rows_take_seconds(path: Path):
    rows = np.random.default_rng(0).integers(0, 256, (6000, 785))
    rows[:, 0] %= 10
    lines = "\n".join(",".join(map(str, row)) for row in rows.tolist()) + "\n"
    header = ",".join(["label", *(f"pixel{i}" for i in range(784))])
    path.write_text(header + "\n" + lines * 7)
    started = time.process_time()
    images, labels = read(path, 10)
    assert time.process_time() - started < 6
    assert images.shape == (42_000, 28, 28)
    assert images.flatten(1)[-1].tolist() == rows[-1, 1:].tolist()
    assert labels[-1] == rows[-1, 0]
