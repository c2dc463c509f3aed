"""The competition's files, made from MNIST, and the score of what is submitted."""

import pytest
from conftest import configure

from experiments.cli.errors import UserError
from experiments.data.competition_files import make
from experiments.data.images import load
from experiments.data.submission import score


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


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "cannot be read: No columns to parse from file"),
        ("id,label\n1,2\n", "columns expected but not found"),
        ("ImageId,Label\n1,2\n1,3\n", "for each ImageId from 1 to 500"),
        ("ImageId,Label\n1,two\n", "cannot be read: invalid literal .*'two'"),
        ("ImageId,Label\n1,2\n", "must have one row for each ImageId from 1 to 500"),
    ],
)
def test_a_bad_submission_is_refused(csv_files, tmp_path, content, complaint):
    path = tmp_path / "submission.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=complaint):
        score(path, csv_files / "truth.csv")


def test_duplicates_are_refused(csv_files, tmp_path):
    path = tmp_path / "submission.csv"
    truth = (csv_files / "truth.csv").read_text()
    path.write_text(truth + truth.splitlines()[-1] + "\n")
    with pytest.raises(UserError, match="one row for each ImageId from 1 to 500"):
        score(path, csv_files / "truth.csv")
    path.write_text(truth)
    assert score(path, csv_files / "truth.csv") == (1, 500)
