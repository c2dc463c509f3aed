"""A competition from its files to a scored submission, and predictions of images."""

import csv
import re
import resource

import pytest
import torch
from PIL import Image

from experiments.cli.errors import UserError
from experiments.cli.files import write
from experiments.data.idx import IDXFolder
from experiments.deployment import inference


def test_from_the_competition_s_files_to_a_score(digits, csv_files, tmp_path):
    [run] = digits.seeds()
    output = tmp_path / "submission.csv"
    places = (f"tracking.uri={digits.uri}", f"output={output}", "format=submission")
    result = digits.run("predict", "model=best", f"input={csv_files}/test.csv", *places)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{output}: 500 images\nby kaggle_digits, ")
    assert run.info.run_id in result.stdout
    rows = list(csv.reader(output.open()))
    assert rows[0] == ["ImageId", "Label"]
    assert [row[0] for row in rows[1:]] == [str(number) for number in range(1, 501)]
    truth = list(csv.DictReader((csv_files / "truth.csv").open()))
    right = sum(row[1] == true["label"] for row, true in zip(rows[1:], truth, strict=True))
    assert right > 0.85 * 500
    scored = digits.run("predict", "run=best", f"input={csv_files}/truth.csv", places[0])
    assert f"{right} of 500 right, {right / 5:.2f} %" in scored.stdout


def test_the_screen_is_as_kept(screen, capsys):
    logits = torch.tensor([[9.0, 1.0, 2.0], [0.0, 3.0, 2.5], [1.0, 1.1, 1.2]])
    names = ["1.png", "a photo of a seven, taken by night and scaled by hand twice.jpg", "[b]3.png"]
    inference.print_predictions(names, logits.softmax(1))
    screen("predict", capsys.readouterr().out)


def test_a_labelled_file_is_scored(csv_files, run_predict):
    _, printed, _ = run_predict("run=best", f"input={csv_files}/train.csv")
    right = re.search(r"([\d,]+) of 2,000 right, ([\d.]+) %", printed)
    assert float(right[2]) > 85
    assert "and 1,950 more; output=FILE.csv has all" in printed


def test_images_are_read_with_their_probabilities(digits, small, tmp_path, run_predict):
    data = IDXFolder(str(small), train=False)
    for i in range(20):
        Image.fromarray(data.data[i].numpy()).save(tmp_path / f"{i:02}.png")
    [run] = digits.seeds()
    status, _, _ = run_predict(
        f"run={run.info.run_id}", f"input={tmp_path}", f"output={tmp_path}/out.csv"
    )
    assert status == 0
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    assert [row["image"] for row in rows] == [f"{i:02}.png" for i in range(20)]
    right = sum(int(row["predicted"]) == data.targets[i] for i, row in enumerate(rows))
    assert right >= 16
    for row in rows:
        chances = [float(row[f"p{kind}"]) for kind in range(10)]
        assert sum(chances) == pytest.approx(1, abs=1e-4)
        assert max(chances) == chances[int(row["predicted"])] == float(row["probability"])
    status, printed, _ = run_predict(f"run={run.info.run_id}", f"input={tmp_path}/03.png")
    assert re.search(rf"03.png +{rows[3]['predicted']} +[\d.]+ %", printed)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "give run=ID, of a run or a registered model, or run=best"),
        (["run=best"], "give input=FILE_OR_FOLDER: an image, a folder of images, or a CSV file"),
        (["run=best", "input=nowhere"], "input=nowhere: there is no such file or folder"),
        (["run=best", "input=conf"], "conf: has no images, that is, no files named *.png"),
        (["run=best", "input=README.md"], "README.md: cannot be read as PNG, JPEG"),
        (["run=best", "input={tmp_path}/numbers.csv"], "the first line must be label,pixel0"),
        (
            ["run=best", "input={csv_files}/test.csv", "format=xml"],
            "format must be 'full' or 'submission'",
        ),
        (
            ["run=best", "input={csv_files}/test.csv", "output={csv_files}/test.csv"],
            "is an input of this command",
        ),
        (
            ["run=best", "input={csv_files}", "output={csv_files}/good.PNG"],
            "is written as CSV; name it *.csv",
        ),
        (
            ["run=best", "input={csv_files}/test.csv", "batch_size=0"],
            "batch_size must be at least",
        ),
        (["rum=best"], "there is no key rum in the configuration; did you mean run?"),
        (
            ["run=best", "input=README.md", "tracking.uri=sqlite:////dev/null/x.db"],
            "there is no such store",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_line(csv_files, run_predict, tmp_path, arguments, complaint):
    (tmp_path / "numbers.csv").write_text("ImageId,Label\n1,2\n")
    places = {"csv_files": csv_files, "tmp_path": tmp_path}
    before = sorted(csv_files.iterdir())
    status, printed, errors = run_predict(*(item.format(**places) for item in arguments))
    assert (status, printed) == (1, "")
    assert complaint in errors
    assert len(errors.splitlines()) == 1
    assert sorted(csv_files.iterdir()) == before


def test_images_of_another_size_are_refused(tmp_path, run_predict):
    (tmp_path / "four.csv").write_text("pixel0,pixel1,pixel2,pixel3\n1,2,3,4\n")
    _, _, errors = run_predict("run=best", f"input={tmp_path}/four.csv")
    assert "has images of 2x2, the network takes 28x28" in errors


def test_nothing_half_written_is_left(tmp_path):
    (tmp_path / "out.csv").write_text("of last week")
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, unlimited[1]))  # as a full disk would
    try:
        with pytest.raises(UserError, match=r"out.csv: cannot be written: File too large"):
            write(tmp_path / "out.csv", "1,2\n" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    assert (tmp_path / "out.csv").read_text() == "of last week"
