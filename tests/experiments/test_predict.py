"""The competition from its files to a scored submission, and predictions of what people have."""

import csv
import os
import pickle
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch
import yaml
from conftest import PROJECT, Workplace
from hydra import compose, initialize_config_dir
from PIL import Image

from experiments import competition, predict, trained
from experiments.data import load
from experiments.design import design
from experiments.program import UserError
from experiments.tracking import Store
from experiments.training import fit_from, make_module, make_trainer


def configure(name: str, *overrides: str):
    with initialize_config_dir(version_base="1.3", config_dir=str(PROJECT / "conf")):
        return compose(name, overrides=list(overrides))


@pytest.fixture(scope="module")
def files(tmp_path_factory, small) -> Path:
    """train.csv with 2,000 rows, test.csv and truth.csv with 500."""
    folder = tmp_path_factory.mktemp("competition")
    given = ("data=idx", f"data.root={small}", f"root={folder}", "rows=2000")
    competition.make(configure("competition", *given))
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory, files) -> Workplace:
    """A store with one seed of the competition's network, trained shortly."""
    workplace = Workplace(tmp_path_factory.mktemp("predict"))
    result = workplace.run(
        "train",
        "experiment=kaggle_digits",
        f"data.root={files}",
        "data.held_out=200",
        "trainer.max_epochs=3",
        "target.val_acc=0.8",
        "tracking.model=false",
    )
    assert result.returncode == 0, result.stderr
    return workplace


@pytest.fixture
def run_predict(place, monkeypatch, capsys):
    """Run the program in this process; its status, output and errors."""

    def run(*arguments: str, of: Workplace = place) -> tuple[int, str, str]:
        places = (f"tracking.uri={of.uri}", f"checkpoints.root={of.folder}/checkpoints")
        monkeypatch.setattr(sys, "argv", ["predict", *places, *arguments])
        status = 0
        try:
            predict.main()
        except SystemExit as exit:
            status = exit.code
        return status, *capsys.readouterr()

    return run


def store(workplace: Workplace) -> Store:
    return Store(configure("predict", f"tracking.uri={workplace.uri}").tracking)


def test_from_the_competition_s_files_to_a_score(place, files, tmp_path):
    [run] = place.seeds()
    output = tmp_path / "submission.csv"
    places = (f"tracking.uri={place.uri}", f"output={output}", "format=submission")
    result = place.run("predict", "model=best", f"input={files}/test.csv", *places)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{output}: 500 images\nby kaggle_digits, ")
    assert run.info.run_id in result.stdout
    rows = list(csv.reader(output.open()))
    assert rows[0] == ["ImageId", "Label"]
    assert [row[0] for row in rows[1:]] == [str(number) for number in range(1, 501)]
    accuracy, images = competition.score(output, files / "truth.csv")
    assert images == 500
    assert accuracy > 0.85
    truth = dict(list(csv.reader((files / "truth.csv").open()))[1:])
    assert accuracy == sum(truth[number] == label for number, label in rows[1:]) / 500


def test_no_row_is_trained_on_and_validated_on(files):
    given = ("experiment=kaggle_digits", f"data.root={files}", "data.held_out=200")
    data, _ = load(configure("train", *given))
    assert data.train.images.shape == (1800, 3, 28, 28)
    labels = [int(line.split(",")[0]) for line in (files / "train.csv").open().readlines()[1:]]
    assert [*data.train.labels.tolist(), *data.val.labels.tolist()] == labels


def test_a_labelled_file_is_scored(files, run_predict):
    _, printed, _ = run_predict("run=best", f"input={files}/train.csv")
    right = re.search(r"([\d,]+) of 2,000 right, ([\d.]+) %", printed)
    assert float(right[2]) > 85
    assert "and 1,950 more; output=FILE.csv has all" in printed


def test_images_are_read_with_their_probabilities(place, small, tmp_path, run_predict):
    from experiments.idx import IDXFolder

    data = IDXFolder(str(small), train=False)
    for i in range(20):
        Image.fromarray(data.data[i].numpy()).save(tmp_path / f"{i:02}.png")
    [run] = place.seeds()
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


def test_a_registered_model_is_named_by_version_and_alias(place, files, run_predict):
    [run] = place.seeds()
    client = place.client
    client.create_registered_model("digits")
    client.create_model_version("digits", run.info.artifact_uri, run_id=run.info.run_id)
    client.set_registered_model_alias("digits", "champion", "1")
    names = ("digits", "digits/1", "digits@champion", "models:/digits/1")
    assert {trained.find(store(place), name).info.run_id for name in names} == {run.info.run_id}
    for name in ("digits/2", "digits@loser", "letters", "m-" + "0" * 32, "0" * 32, "x'y", "a/b/c"):
        status, _, errors = run_predict(f'run="{name}"', f"input={files}/test.csv")
        assert status == 1
        assert "is neither a run nor a registered model of" in errors
        assert len(errors.splitlines()) == 1


def test_a_parent_stands_for_its_best_seed(place):
    [run] = place.seeds()
    parent = run.data.tags["mlflow.parentRunId"]
    assert trained.find(store(place), parent).info.run_id == run.info.run_id


class Candidates:
    """Runs as a store has them, in place of hours of training."""

    def __init__(self, workplace: Workplace) -> None:
        self.client = workplace.client
        self.experiment = self.client.create_experiment("parsimony")

    def add(self, parameters: int, mean: float, *seeds: float, classes: str = "None") -> str:
        """A parent with its seeds; the id of its best seed."""
        parent = self._run({}, {"val/acc_mean": mean, "seeds": len(seeds)}, parameters, classes)
        tags = {"mlflow.parentRunId": parent}
        children = [self._run(tags, {"val/acc": seed}, parameters, classes) for seed in seeds]
        return children[seeds.index(max(seeds))]

    def _run(self, tags: dict, metrics: dict, parameters: int, classes: str) -> str:
        run = self.client.create_run(self.experiment, tags=tags).info.run_id
        for name, value in (metrics | {"parameters": parameters}).items():
            self.client.log_metric(run, name, value)
        self.client.log_param(run, "target.val_acc", "0.99")
        self.client.log_param(run, "data.classes", classes)
        self.client.set_terminated(run)
        return run


def test_best_is_the_smallest_that_holds_its_target(workplace):
    candidates = Candidates(workplace)
    with pytest.raises(UserError, match=r"of 0 finished runs in .* none holds a target"):
        trained.best(store(workplace))
    candidates.add(9000, 0.985, 0.98, 0.989)
    candidates.add(100, 0.999, 0.999, classes="[0, 5]")  # does not know all digits
    with pytest.raises(UserError, match=r"of 2 finished runs in .* none holds a target"):
        trained.best(store(workplace))
    lucky = candidates.add(5000, 0.989, 0.988, 0.9901)  # one seed does, their mean does not
    assert trained.best(store(workplace)).info.run_id == lucky
    candidates.add(8000, 0.995, 0.995)
    sure = candidates.add(7000, 0.9905, 0.992, 0.989)
    assert trained.best(store(workplace)).info.run_id == sure
    some = trained.best(store(workplace), "params.`data.classes` = '[0, 5]'")
    assert some.data.metrics["parameters"] == 100
    with pytest.raises(UserError, match="where=sizes: "):
        trained.best(store(workplace), "sizes")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "give run=ID, of a run or a registered model, or model=best"),
        (["run=best"], "give input=FILE_OR_FOLDER: an image, a folder of images, or a CSV file"),
        (["run=best", "input=nowhere"], "input=nowhere: there is no such file or folder"),
        (["run=best", "input=conf"], "conf: has no images, that is, no files named *.png"),
        (["run=best", "input=README.md"], "README.md: is not an image (PNG, JPEG"),
        (["run=best", "input={files}/truth.csv"], "has a column 'ImageId'"),
        (["run=best", "input={files}/test.csv", "format=xml"], "format must be full or submission"),
        (["run=best", "input={files}/test.csv", "output={files}/test.csv"], "must not be the same"),
        (["run=best", "input={files}/test.csv", "output=/nowhere/out.csv"], "in a folder that exi"),
        (["run=best", "input={files}/test.csv", "batch_size=0"], "batch_size must be a whole"),
        (["rum=best"], "there is no key rum in the configuration; did you mean run?"),
        (
            ["run=best", "input=README.md", "tracking.uri=sqlite:////dev/null/x.db"],
            "cannot be used",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_told_in_a_line(files, run_predict, arguments, complaint):
    before = sorted(files.iterdir())
    status, printed, errors = run_predict(*(item.format(files=files) for item in arguments))
    assert (status, printed) == (1, "")
    assert complaint in errors
    assert len(errors.splitlines()) == 1
    assert sorted(files.iterdir()) == before


def test_images_of_another_size_are_refused(tmp_path, run_predict):
    (tmp_path / "four.csv").write_text("pixel0,pixel1,pixel2,pixel3\n1,2,3,4\n")
    _, _, errors = run_predict("run=best", f"input={tmp_path}/four.csv")
    assert "has images of 2x2, the network takes 28x28" in errors


def test_nothing_half_written_is_left(tmp_path):
    def rows():
        yield ["ImageId", "Label"]
        raise OSError(28, "No space left on device")

    (tmp_path / "out.csv").write_text("of last week")
    with pytest.raises(UserError, match=r"out.csv: cannot be written: No space left on device"):
        predict.write(tmp_path / "out.csv", rows())
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]
    assert (tmp_path / "out.csv").read_text() == "of last week"


class Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.fixture
def stranger(place, tmp_path):
    """The artifacts of the run, to be changed, as from someone else; and a file that is
    only there if their code was run."""
    [run] = place.seeds()
    artifacts = Path(run.info.artifact_uri.removeprefix("file://"))
    shutil.copytree(artifacts, tmp_path / "kept")
    yield artifacts, tmp_path / "marker"
    shutil.rmtree(artifacts)
    shutil.copytree(tmp_path / "kept", artifacts)


EVIL_MODELS = {
    "a function": {"_target_": "os.system", "_args_": ["touch {marker}"]},
    "through our modules": {
        "_target_": "models.kernels.subprocess.run",
        "_args_": [["touch", "{marker}"]],
    },
    "our function": {"_target_": "models.kernels.library"},
    "through torch": {
        "_target_": "torch.nn.modules.module.os.system",
        "_args_": ["touch {marker}"],
    },
    "our program": {"_target_": "experiments.provenance._git", "_args_": ["touch {marker}"]},
    "a class": {"_target_": "logging.FileHandler", "_args_": ["{marker}"]},  # Hydra allows that
    "a class of ours": {
        "_target_": "models.learner.logging.FileHandler",
        "_args_": ["{marker}"],
    },
    "nested": {
        "_target_": "torch.nn.Sequential",
        "_args_": [{"_target_": "logging.FileHandler", "_args_": ["{marker}"]}],
    },
    "deeper": {
        "_target_": "models.mlp.MLP",
        "widths": [{"a": {"_target_": "logging.FileHandler", "_args_": ["{marker}"]}}],
    },
    "partial": {"_target_": "models.mlp.MLP", "_partial_": True},
    "environment": {"_target_": "models.mlp.MLP", "widths": "${oc.env:HOME}"},
    "no network": "models.mlp.MLP",
    "nothing": None,
    "not built": {"_target_": "models.mlp.MLP", "widths": [-1]},
    "other weights": {"_target_": "models.mlp.MLP", "widths": [8]},
}


@pytest.mark.parametrize("kind", EVIL_MODELS)
@pytest.mark.parametrize("part", ["model", "loss"])
def test_a_stranger_s_configuration_runs_no_code(stranger, place, files, run_predict, kind, part):
    if part == "loss" and kind in ("nothing", "other weights"):
        pytest.skip("is no mistake")
    artifacts, marker = stranger
    config = yaml.safe_load((artifacts / "config.yaml").read_text())
    text = yaml.safe_dump({part: EVIL_MODELS[kind]})
    config |= yaml.safe_load(
        text.replace("{marker}", str(marker)).replace("{{", "{").replace("}}", "}")
    )
    (artifacts / "config.yaml").write_text(yaml.safe_dump(config))
    [run] = place.seeds()
    status, printed, errors = run_predict(f"run={run.info.run_id}", f"input={files}/test.csv")
    assert not marker.exists()
    assert (status, printed) == (1, "")
    assert errors.startswith(f"error: run {run.info.run_id}: ")
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("weights.pt", lambda marker: {"conv1.weight": Evil(marker)}, "is damaged, or not only"),
        ("weights.pt", lambda marker: {"conv1.weight": 3}, "is damaged, or not only weights"),
        ("weights.pt", lambda marker: [torch.zeros(3)], "is damaged, or not only weights"),
        (
            "weights.pt",
            lambda marker: {"other": torch.zeros(3)},
            "are not those of its network",
        ),
        ("weights.pt", lambda marker: b"", "is damaged, or not only weights"),
        ("weights.pt", lambda marker: b"a text", "is damaged, or not only weights"),
        (
            "weights.pt",
            lambda marker: pickle.dumps(Evil(marker)),
            "is damaged, or not only weights",
        ),
        (
            "config.yaml",
            lambda marker: f"model: !!python/object/apply:os.system ['touch {marker}']".encode(),
            "config.yaml is not YAML",
        ),
        ("config.yaml", lambda marker: b"- a list", "config.yaml is not a configuration"),
        ("config.yaml", lambda marker: b"data: {}", "config.yaml describes no network"),
        ("config.yaml", None, "has no config.yaml among its artifacts"),
    ],
)
def test_a_stranger_s_files_run_no_code(
    stranger, place, files, run_predict, name, content, complaint
):
    artifacts, marker = stranger
    if content is None:
        (artifacts / name).unlink()
    elif isinstance(thing := content(marker), bytes):
        (artifacts / name).write_bytes(thing)
    else:
        torch.save(thing, artifacts / name)
    [run] = place.seeds()
    status, printed, errors = run_predict(f"run={run.info.run_id}", f"input={files}/test.csv")
    assert not marker.exists()
    assert (status, printed) == (1, "")
    assert complaint in errors
    assert len(errors.splitlines()) == 1


def test_a_stranger_s_checkpoint_runs_no_code(tmp_path, small):
    """Where training is to go on from it."""
    marker, last = tmp_path / "marker", tmp_path / "last.ckpt"
    torch.save({"state_dict": {}, "callbacks": Evil(marker)}, last)
    cfg = configure("train", "data=idx", f"data.root={small}", "trainer.accelerator=cpu")
    data, _ = load(cfg)
    module = make_module(cfg, design(cfg)[0], len(data.train.labels))
    with pytest.raises(UserError, match=r"last.ckpt is damaged, or holds more than figures"):
        fit_from(last, make_trainer(cfg, tmp_path), module, data)
    assert not marker.exists()


def test_a_run_without_weights_in_the_store_has_those_of_its_checkpoint(
    stranger, place, files, run_predict
):
    artifacts, _ = stranger
    [run] = place.seeds()
    arguments = (f"run={run.info.run_id}", f"input={files}/test.csv")
    before = run_predict(*arguments)
    (artifacts / "weights.pt").unlink()
    assert run_predict(*arguments) == before
    status, _, errors = run_predict(*arguments, "checkpoints.root=/nowhere")
    assert status == 1
    assert "its weights are neither in the store nor in /nowhere/" in errors


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["rows=2500"], "rows must be below 2,500, the number of images, not 2,500"),
        (["rows=0"], "rows must be a whole number of at least 1"),
        (["seed=x"], "seed must be a whole number"),
        (["root=/dev/null/x", "rows=2000"], "/dev/null/x: cannot be written: Not a directory"),
        (["root={files}"], "train.csv exists; remove it, or name another folder with root="),
    ],
)
def test_files_that_cannot_be_made(files, small, tmp_path, overrides, complaint):
    given = ("data=idx", f"data.root={small}", f"root={tmp_path}/made")
    overrides = [item.format(files=files) for item in overrides]
    with pytest.raises(UserError, match=complaint):
        competition.make(configure("competition", *given, *overrides))
    assert not (tmp_path / "made" / "train.csv").exists()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "its first line must be ImageId,Label"),
        ("id,label\n1,2\n", "its first line must be ImageId,Label"),
        ("ImageId,Label\n1,2\n1,3\n", "line 3: ImageId 1 is there twice"),
        ("ImageId,Label\n1,two\n", "line 2 must be two whole numbers, not '1,two'"),
        ("ImageId,Label\n1,2\n", "must have a row for each ImageId from 1 to 500; 2 is not there"),
        ("ImageId,Label\n0,2\n", "must have a row for each ImageId from 1 to 500; 0 does not exis"),
    ],
)
def test_what_is_no_submission_is_refused(files, tmp_path, content, complaint):
    path = tmp_path / "submission.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=complaint):
        competition.score(path, files / "truth.csv")
