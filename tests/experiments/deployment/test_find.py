"""Runs found by id, by registered model, and by their target."""

import re

import pytest
from conftest import Workplace, configure

from experiments.cli.errors import UserError
from experiments.deployment.find import best, find_run
from experiments.tracking.store import Store


def store(workplace: Workplace) -> Store:
    return Store(configure("predict", f"tracking.uri={workplace.uri}").tracking)


def test_a_registered_model_is_named_by_version_and_alias(digits):
    [run] = digits.seeds()
    client, found = digits.client, store(digits)
    for name in ("digits", "sure?"):
        client.create_registered_model(name)
        client.create_model_version(name, run.info.artifact_uri, run_id=run.info.run_id)
    client.set_registered_model_alias("digits", "champion", "1")
    names = ("digits", "digits/1", "digits@champion", "models:/digits/1", "sure?", "sure?/1")
    assert {find_run(found, name).info.run_id for name in names} == {run.info.run_id}
    for name in (
        "digits/2",
        "digits@loser",
        "letters",
        "m-" + "0" * 32,
        "0" * 32,
        "x'y",
        "?",
        "a/b/c",
    ):
        with pytest.raises(UserError, match="is neither a run nor a registered model of"):
            find_run(found, name)


def test_a_parent_stands_for_its_best_seed(digits):
    [run] = digits.seeds()
    parent = run.data.tags["mlflow.parentRunId"]
    assert find_run(store(digits), parent).info.run_id == run.info.run_id


class Candidates:
    """Runs in a store that were never trained."""

    def __init__(self, workplace: Workplace) -> None:
        self.client = workplace.client
        self.experiment = self.client.create_experiment("parsimony")

    def add(
        self, parameters: int, mean: float, *seeds: float, classes: str = "None", **tags: str
    ) -> str:
        """A parent with its seeds; the id of its best seed."""
        parent = self._run({}, {"val/acc_mean": mean, "seeds": len(seeds)}, parameters, classes)
        tags |= {"mlflow.parentRunId": parent}
        children = [self._run(tags, {"val/acc": seed}, parameters, classes) for seed in seeds]
        return children[seeds.index(max(seeds))]

    def _run(self, tags: dict, metrics: dict, parameters: int, classes: str) -> str:
        run = self.client.create_run(self.experiment, tags=tags, run_name="one").info.run_id
        for name, value in (metrics | {"parameters": parameters}).items():
            self.client.log_metric(run, name, value)
        self.client.log_param(run, "target.val_acc", "0.99")
        self.client.log_param(run, "data.classes", classes)
        self.client.set_terminated(run)
        return run


def test_a_target_that_is_no_number_is_one_line(workplace):
    candidates = Candidates(workplace)
    run = candidates.client.create_run(candidates.experiment).info.run_id
    candidates.client.log_metric(run, "parameters", 10)
    candidates.client.log_param(run, "target.val_acc", "many")
    candidates.client.log_param(run, "data.classes", "None")
    candidates.client.set_terminated(run)
    with pytest.raises(UserError, match=f"run {run}: target.val_acc: could not convert"):
        best(store(workplace))


def test_best_is_the_smallest_that_reaches_its_target(workplace):
    candidates = Candidates(workplace)
    with pytest.raises(UserError, match=r"run=best: .* has no finished run with a target; "):
        best(store(workplace))
    candidates.add(100, 0.999, 0.999, classes="[0, 5]")  # does not know all digits
    missed, nearest = (
        r"no finished run in .* reaches its target; .*the nearest is",
        r"of 99.00 %, n",
    )
    candidates.add(9000, 0.987, 0.987)
    with pytest.raises(UserError, match=rf"{missed} one: 98.70 % {nearest} = 1; take it with run="):
        best(store(workplace))
    near = candidates.add(9000, 0.985, 0.98, 0.989)  # its mean, not its better seed
    mean = rf"{missed} one: 98.50 % {nearest} = 2; take it with run=(\w+)$"
    with pytest.raises(UserError, match=mean) as error:
        best(store(workplace))
    taken = re.search(mean, str(error.value))[1]
    assert find_run(store(workplace), taken).info.run_id == near
    lucky = candidates.add(5000, 0.989, 0.988, 0.9901)  # one seed does, their mean does not
    assert best(store(workplace)).info.run_id == lucky
    candidates.add(8000, 0.995, 0.995)
    sure = candidates.add(7000, 0.9905, 0.992, 0.989)
    assert best(store(workplace)).info.run_id == sure
    some = best(store(workplace), "params.`data.classes` = '[0, 5]'")
    assert some.data.metrics["parameters"] == 100
    nowhere = "params.`target.val_acc` = '1'"
    with pytest.raises(UserError, match=rf"run=best: where={nowhere} finds no finished run with"):
        best(store(workplace), nowhere)
    with pytest.raises(UserError, match=r"^the filter sizes is invalid: Invalid clause"):
        best(store(workplace), "sizes")
    with pytest.raises(UserError, match=r"^the .*data.seed=3 is invalid; write where=\"params"):
        best(store(workplace), "params.data.seed=3")


def test_best_is_no_trial_nor_of_part_of_its_data_and_of_one_set_of_images(workplace):
    candidates = Candidates(workplace)
    candidates.add(10, 0.1, 0.999, study="night")
    candidates.add(11, 0.1, 0.999, partial="limit_val_batches=1")
    digits = candidates.add(8000, 0.995, 0.995, **{"data.digest": "a"})
    assert best(store(workplace)).info.run_id == digits
    clothes = candidates.add(9000, 0.995, 0.995, **{"data.digest": "b"})
    with pytest.raises(UserError, match=r"networks for 2 sets of images .* choose one:"):
        best(store(workplace))
    assert best(store(workplace), "tags.`data.digest` = 'b'").info.run_id == clothes


def test_a_model_whose_run_is_gone_says_so(workplace):
    store = Store(configure("train", *workplace.places[:2]).tracking)
    run = store.client.create_run(store.experiment_id)
    store.client.create_registered_model("digits")
    store.client.create_model_version("digits", run.info.artifact_uri, run_id=run.info.run_id)
    store.client.delete_run(run.info.run_id)
    workplace.remove_deleted()
    with pytest.raises(UserError, match=f"comes from run {run.info.run_id}, which is no longer in"):
        find_run(store, "digits")
