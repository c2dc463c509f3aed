"""Runs and experiments that somebody deletes, restores, renames, or removes for good."""

import os
import subprocess
import sys

import pytest
from conftest import configure, quick

from experiments.cli.errors import UserError
from experiments.deployment.find import find
from experiments.tracking.store import Store

GC = [sys.executable, "-m", "mlflow", "gc"]


def train(workplace, small, *overrides: str):
    """One seed of one epoch, here in this process or in another."""
    result = workplace.run("train", *quick(small, "trainer.max_epochs=1", *overrides))
    assert result.returncode == 0, result.stderr
    return result.stdout


def removed(workplace, *options: str) -> None:
    """Remove for good what was deleted."""
    subprocess.run(
        [*GC, "--backend-store-uri", workplace.uri, *options],
        check=True,
        capture_output=True,
        env=os.environ | {"MLFLOW_TRACKING_URI": workplace.uri},
    )


def parents(workplace) -> dict[str, list[str]]:
    """The seeds of each parent run, both by id."""
    runs = workplace.runs()
    return {
        run.info.run_id: [
            seed.data.params["seed"]
            for seed in reversed(workplace.seeds())
            if seed.data.tags["mlflow.parentRunId"] == run.info.run_id
        ]
        for run in runs
        if "mlflow.parentRunId" not in run.data.tags
    }


def test_a_deleted_parent_comes_back_with_the_next_seed(workplace, small):
    train(workplace, small)
    [parent] = parents(workplace)
    workplace.client.delete_run(parent)
    train(workplace, small, "seed=1")
    assert parents(workplace) == {parent: ["0", "1"]}
    assert workplace.client.get_run(parent).data.metrics["seeds"] == 2
    workplace.client.delete_run(parent)
    assert "trained before" in train(workplace, small)
    assert parents(workplace) == {parent: ["0", "1"]}
    workplace.client.delete_run(parent)
    page = workplace.folder / "report.html"
    place = f"tracking.uri={workplace.uri}"
    compared = workplace.run("compare", place, f"html={page}", "data=idx", f"data.root={small}")
    assert (compared.returncode, page.exists()) == (0, True), compared.stderr
    removed(workplace)
    assert "trained before" in train(workplace, small)
    [(anew, seeds)] = parents(workplace).items()
    assert (anew != parent, seeds) == (True, ["0", "1"])
    metrics = workplace.client.get_run(anew).data.metrics
    assert (metrics["seeds"], metrics["parameters"]) == (2, 5854)


def test_a_deleted_run_is_taken_from_its_checkpoint(workplace, small):
    """Also where it was removed for good; one that is restored is itself again."""
    train(workplace, small)
    [first] = workplace.seeds()
    for remove in (False, True):
        [run] = workplace.seeds()
        workplace.client.delete_run(run.info.run_id)
        if remove:
            removed(workplace)
        assert ": trained in" in train(workplace, small)
        [again] = workplace.seeds()
        assert again.info.run_id != run.info.run_id
        assert again.data.metrics["val/acc"] == run.data.metrics["val/acc"]
        history = workplace.history(again.info.run_id, "val/acc")
        assert history == [(1, first.data.metrics["val/acc"])]


def tracking(workplace, name: str = "parsimony", **more: str):
    return configure("predict", f"tracking.uri={workplace.uri}", f"tracking.experiment={name}")


def test_an_experiment_that_was_deleted_or_renamed_is_named(workplace):
    cfg = configure("train", *workplace.places[:2]).tracking
    first = Store(cfg)
    client, identifier = workplace.client, first.experiment_id
    client.delete_experiment(identifier)
    for create in (True, False):
        with pytest.raises(UserError, match=rf"was deleted; .* restore --experiment-id {identifier}"):
            Store(cfg, create)
    client.restore_experiment(identifier)
    assert Store(cfg).experiment_id == identifier
    client.rename_experiment(identifier, "spring")
    for create in (True, False):
        with pytest.raises(UserError, match="has been renamed: tracking.experiment='spring' goes"):
            Store(cfg, create)
    cfg.experiment = "spring"
    assert Store(cfg).experiment_id == identifier
    client.delete_experiment(identifier)
    removed(workplace)
    cfg.experiment = "parsimony"
    assert Store(cfg).experiment_id != identifier


def test_a_model_whose_run_is_gone_says_so(workplace):
    store = Store(configure("train", *workplace.places[:2]).tracking)
    run = store.client.create_run(store.experiment_id)
    store.client.create_registered_model("digits")
    store.client.create_model_version("digits", run.info.artifact_uri, run_id=run.info.run_id)
    store.client.delete_run(run.info.run_id)
    removed(workplace)
    with pytest.raises(UserError, match=f"comes from run {run.info.run_id}, which is no longer in"):
        find(store, "digits")
