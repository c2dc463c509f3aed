"""Parents and their seeds that somebody deletes, restores, or removes for good."""

import pytest
from conftest import configure, quick
from made import DIGEST, make

from experiments.tracking.arms import gather
from experiments.tracking.parent_runs import sum_up
from experiments.tracking.store import Store


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


def test_a_deleted_parent_comes_back_with_the_next_seed(workplace, run_here):
    parent = make(workplace.folder, "s13", [0.99])
    workplace.client.delete_run(parent)
    assert make(workplace.folder, "s13", [0.98], first_seed=1) == parent
    assert parents(workplace) == {parent: ["0", "1"]}
    assert workplace.client.get_run(parent).data.metrics["seeds"] == 2
    workplace.client.delete_run(parent)
    page = workplace.folder / "report.html"
    compared = run_here("compare", f"tracking.uri={workplace.uri}", f"html={page}")
    assert (compared[0], page.exists()) == (0, True), compared
    assert parents(workplace) == {}


def test_a_parent_has_the_images_of_its_seeds(workplace):
    parent = make(workplace.folder, "s13", [0.99, 0.98])
    used = workplace.client.get_run(parent).inputs.dataset_inputs
    names = {(each.tags[0].value, each.dataset.name, each.dataset.digest) for each in used}
    assert names == {("training", "MNIST train", DIGEST), ("validation", "MNIST val", DIGEST)}


def test_a_parent_says_what_differs_from_the_step_or_what_the_step_changes(workplace):
    keys = ("data.batch_size=128", "model.widths=[8,8,12,12,10]")
    for overrides, shown in (((), "second width 10 again"), (keys, ", ".join(keys))):
        parent = make(workplace.folder, "s13", [0.99], *overrides)
        assert workplace.client.get_run(parent).data.tags["changed"] == shown


def test_a_deleted_run_that_is_restored_counts_once(workplace):
    """The same run was trained again in the meantime: the later one counts."""
    parent = make(workplace.folder, "s13", [0.99, 0.98])
    first = workplace.seeds()[-1].info.run_id
    workplace.client.delete_run(first)
    make(workplace.folder, "s13", [0.97])
    workplace.client.restore_run(first)
    cfg = configure("train", "step=s13", *workplace.places[:3])
    store = Store(cfg.tracking)
    sum_up(cfg, store, parent)
    assert len(parents(workplace)[parent]) == 3
    [arm] = gather(store.search(None))
    assert arm.scores == pytest.approx({"0": 0.97, "1": 0.98})
    metrics = workplace.client.get_run(parent).data.metrics
    assert (metrics["seeds"], metrics["val/acc_mean"]) == (2, pytest.approx(0.975))


def test_seeds_whose_parent_is_gone_get_a_new_one(workplace):
    cfg = configure("train", "step=s13", *workplace.places[:3])
    old = make(workplace.folder, "s13", [0.99, 0.98])
    workplace.client.delete_run(old)
    workplace.remove_deleted()
    sum_up(cfg, Store(cfg.tracking), old)
    [(new, seeds)] = parents(workplace).items()
    assert (new != old, seeds) == (True, ["0", "1"])
    metrics = workplace.client.get_run(new).data.metrics
    assert (metrics["seeds"], metrics["parameters"]) == (2, 5854)


def test_two_parents_of_one_arm_sum_up_their_own_seeds(workplace):
    """As two machines make them, which share a store and no folder."""
    cfg = configure("train", "step=s13", *workplace.places[:3])
    first = make(workplace.folder, "s13", [0.99, 0.98])
    workplace.client.set_tag(first, "data.digest", "other")
    second = make(workplace.folder, "s13", [0.97], first_seed=2)
    workplace.client.set_tag(first, "data.digest", DIGEST)
    sum_up(cfg, Store(cfg.tracking), second)
    assert parents(workplace) == {first: ["0", "1"], second: ["2"]}
    means = [workplace.client.get_run(one).data.metrics["val/acc_mean"] for one in (first, second)]
    assert means == pytest.approx([0.985, 0.97])


@pytest.mark.slow
def test_a_deleted_run_is_taken_from_its_checkpoint(workplace, small):
    """Also where it was removed for good."""
    train = ("train", *quick(small, "trainer.max_epochs=1"))
    assert workplace.run(*train).returncode == 0
    for remove in (False, True):
        [run] = workplace.seeds()
        workplace.client.delete_run(run.info.run_id)
        if remove:
            workplace.remove_deleted()
        assert ": trained in" in workplace.run(*train).stdout
        [again] = workplace.seeds()
        assert again.info.run_id != run.info.run_id
        history = workplace.history(again.info.run_id, "val/acc")
        assert history == [(1, run.data.metrics["val/acc"])]
    assert list(parents(workplace).values()) == [["0"]]
