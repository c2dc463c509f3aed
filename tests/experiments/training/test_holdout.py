"""Three sets: the images held out choose the epoch, and the test images are scored once."""

import os
import signal
import subprocess

import pytest
import torch
from conftest import ONE_THREAD, PROJECT, Workplace, configure, quick, wait_for_epoch

from experiments.cli.text import against, percent
from experiments.data.images import load
from experiments.tracking.artifacts import read_mistakes
from experiments.tracking.store import Store
from experiments.tracking.trained_network import load_network

# a rate that grows eightfold with each epoch: the best epoch is not the last one
UNSTEADY = ("trainer.max_epochs=3", "scheduler.step_size=1", "scheduler.gamma=8")
HELD = "data.holdout=500"


@pytest.fixture(scope="module")
def trained(tmp_path_factory, small) -> dict[str, Workplace]:
    """The same seed, alone and fused, with images held out; and one without."""
    places = {}
    for name, given in (
        ("alone", (HELD, "seed=0")),
        ("fused", (HELD, "fused.seed=1")),
        ("published", ("seed=0",)),
    ):
        places[name] = Workplace(tmp_path_factory.mktemp(name))
        result = places[name].run("train", *quick(small, *UNSTEADY, *given))
        assert result.returncode == 0, result.stderr
        places[name].output = result.stdout
    return places


def wrong_by_exported(place: Workplace, run, images) -> list[int]:
    """The images that the weights in the store classify wrongly."""
    cfg = configure("train", *place.places)
    network = load_network(Store(cfg.tracking), run)
    with torch.inference_mode():
        answers = network(images.images).argmax(1)
    return (answers != images.labels).nonzero().flatten().tolist()


def first(place: Workplace):
    [run] = [run for run in place.seeds() if run.data.params.get("seed") == "0"]
    return run


@pytest.mark.parametrize("name", ["alone", "fused", "published"])
def test_a_run_keeps_what_its_exported_weights_get_wrong(trained, small, name):
    place, run = trained[name], first(trained[name])
    held = [HELD] if name != "published" else []
    data, digest = load(configure("train", "data=idx", f"data.root={small}", *held))
    images = data.test if held else data.val
    kept = read_mistakes(place.client, run.info.run_id, 500)
    split, other = ("test", "val") if held else ("val", "test")
    assert run.data.metrics[f"{split}/images"] == 500
    assert f"{other}/images" not in run.data.metrics
    assert digest == run.data.tags["data.digest"]
    # kernels round otherwise than PyTorch: an image may be on the edge
    assert len({*kept["image"]} ^ set(wrong_by_exported(place, run, images))) <= 1
    assert kept["true"].tolist() == images.labels[kept["image"]].tolist()
    assert run.data.metrics[f"{split}/acc"] == pytest.approx(1 - len(kept) / 500)


def test_with_a_holdout_the_best_epoch_is_exported_else_the_last(trained, small):
    for name, metric in (("alone", "val/best_acc"), ("published", "val/acc")):
        run = first(trained[name])
        held = [HELD] if name == "alone" else []
        data, _ = load(configure("train", "data=idx", f"data.root={small}", *held))
        wrong = wrong_by_exported(trained[name], run, data.val)
        assert run.data.metrics["val/best_acc"] != run.data.metrics["val/acc"], "shows nothing"
        assert 1 - len(wrong) / 500 == pytest.approx(run.data.metrics[metric], abs=0.002)


def test_the_test_images_are_scored_once_alone_and_fused(trained):
    for name in ("alone", "fused"):
        history = trained[name].history(first(trained[name]).info.run_id, "test/acc")
        assert len(history) == 1
    alone, fused = (first(trained[name]).data.metrics for name in ("alone", "fused"))
    assert alone["val/best_epoch"] == fused["val/best_epoch"]
    assert "test/acc" not in first(trained["published"]).data.metrics


def test_evaluate_asks_for_the_images_that_a_run_held_out(trained, small, run_here):
    place, run = trained["alone"], first(trained["alone"])
    data = ("data=idx", f"data.root={small}", "split=val")
    given = (f"tracking.uri={place.uri}", f"run={run.info.run_id}", *data)
    status, output, errors = run_here("evaluate", *given)
    assert (status, output) == (1, "")
    assert f"split=val: give {HELD}, as the run had, or split=test" in errors
    assert run_here("evaluate", *given, "data.holdout=400")[0] == 0  # other images


def test_what_a_run_is_judged_by_is_summed_up_compared_and_shown(trained, run_here):
    place, run = trained["alone"], first(trained["alone"])
    tested = run.data.metrics["test/acc"]
    parent = place.client.get_run(run.data.tags["mlflow.parentRunId"])
    assert parent.data.metrics["test/acc_mean"] == tested
    assert parent.data.metrics["val/acc_mean"] == run.data.metrics["val/acc"]
    shown = percent(tested)
    assert run.data.tags["verdict"] == against(tested, 0.994)
    assert shown in parent.data.tags["verdict"]
    assert shown in place.output
    places = (f"tracking.uri={place.uri}", f"csv={place.folder}/arms.csv")
    status, _, _ = run_here("compare", *places)
    assert status == 0
    assert f"{tested:.6f}".rstrip("0") in (place.folder / "arms.csv").read_text()
    assert "the weights are of the last one" in trained["published"].output
    assert "the weights are of the last one" not in place.output
    used = {(each.tags[0].value, each.dataset.name) for each in run.inputs.dataset_inputs}
    assert used == {
        ("training", "IDXFolder train"),
        ("validation", "IDXFolder val"),
        ("testing", "IDXFolder test"),
    }


@pytest.mark.slow
def test_an_interrupted_run_ends_as_one_that_was_not(trained, small, workplace):
    given = quick(small, *UNSTEADY, HELD, "seed=0")
    command, environment = workplace.command("train", *given), os.environ | ONE_THREAD
    process = subprocess.Popen(command, cwd=PROJECT, env=environment, stderr=subprocess.DEVNULL)
    wait_for_epoch(workplace, 2)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert workplace.run("train", *given).returncode == 0
    ends = []
    for place in (workplace, trained["alone"]):
        run = first(place)
        wrong = read_mistakes(place.client, run.info.run_id, 500)
        ends.append((wrong.to_csv(), place.history(run.info.run_id, "test/acc"), run.info.status))
    assert ends[0] == ends[1]
