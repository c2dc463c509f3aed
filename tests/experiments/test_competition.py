"""The competition's files, made from MNIST."""

import pytest
from conftest import configure

from experiments.cli.errors import UserError
from experiments.data.competition_files import make
from experiments.data.images import load


def test_the_truth_is_the_test_with_labels(csv_files):
    files = ((csv_files / name).read_text().splitlines() for name in ("truth.csv", "test.csv"))
    labelled = [tuple(line.split(",", maxsplit=1)) for line in next(files)]
    assert [pixels for _, pixels in labelled] == next(files)
    assert labelled[0][0] == "label"
    assert {label for label, _ in labelled[1:]} == {str(digit) for digit in range(10)}


def test_no_row_is_trained_on_and_validated_on(csv_files):
    given = ("experiment=kaggle_digits", f"data.root={csv_files}", "data.held_out=200")
    data, _ = load(configure("train", *given))
    assert data.train.images.shape == (1800, 3, 28, 28)
    labels = [int(line.split(",")[0]) for line in (csv_files / "train.csv").open().readlines()[1:]]
    assert [*data.train.labels.tolist(), *data.val.labels.tolist()] == labels


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["rows=2500"], "rows must be below 2,500, the number of images, not 2,500"),
        (
            ["root=/dev/null/x", "rows=2000"],
            "/dev/null/x/train.csv: cannot be written: Not a directory",
        ),
        (["root={csv_files}"], "train.csv exists; remove it, or name another folder with root="),
    ],
)
def test_files_that_cannot_be_made(csv_files, small, tmp_path, overrides, complaint):
    given = ("data=idx", f"data.root={small}", f"root={tmp_path}/made")
    overrides = [item.format(csv_files=csv_files) for item in overrides]
    with pytest.raises(UserError, match=complaint):
        make(configure("competition", *given, *overrides))
    assert not (tmp_path / "made" / "train.csv").exists()


def test_the_screen_is_as_kept(small, tmp_path, run_here, monkeypatch, screen):
    monkeypatch.chdir(tmp_path)
    _, output, errors = run_here("competition", "data=idx", f"data.root={small}", "rows=2000")
    screen("competition", errors + output)
