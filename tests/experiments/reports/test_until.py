"""A sweep that adds seeds until the verdict of its arms is certain, as a user starts it."""

import pytest
from conftest import composing, one_line, quick
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from made import make
from omegaconf import OmegaConf

from experiments.reports import until


def sweep(workplace, small, *overrides: str):
    data = ("data=idx", f"data.root={small}", "trainer.max_epochs=1", "tracking.model=false")
    return workplace.run("train", "-m", "seed=range(6)", *data, *overrides)


@pytest.mark.slow
def test_seeds_are_added_to_both_arms_until_one_is_worse(workplace, small):
    result = sweep(workplace, small, "step=s13,s02", "until_verdict=0.01")
    assert result.returncode == 0, result.stdout + result.stderr
    trained = {step: set() for step in ("s13", "s02")}
    for run in workplace.seeds():
        trained[run.data.tags["step"]].add(int(run.data.params["seed"]))
    assert trained["s13"] == trained["s02"] == set(range(len(trained["s13"])))
    n = len(trained["s13"])
    assert 3 <= n < 6
    assert f"{2 * n} trained, {12 - 2 * n} not needed" in result.stdout
    verdict = f"step=s02: is worse than step=s13 by more than 1.00 points ({n} seeds)"
    assert result.stdout.count(verdict) == 1


@pytest.mark.slow
def test_seeds_are_added_until_a_target_is_reached(workplace, small):
    target = ("step=s13", "target.val_acc=0.3", "until_verdict=target")
    result = sweep(workplace, small, *target)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "the mean: reaches its target (" in result.stdout
    assert 3 <= len(workplace.seeds()) < 6


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        ("Diverged: the training loss became inf in epoch 2", "misses its target (2 seeds)"),
        ("OSError: no space left on device", "reaches its target (3 seeds)"),
    ],
)
def test_a_seed_that_failed_leaves_no_verdict_open(workplace, error, verdict):
    """One that diverged is a miss; without any other, there are seeds enough."""
    make(workplace.folder, "s13", [0.9942, 0.9940])
    make(workplace.folder, "s13", [0.1], first_seed=2, failed=True)
    make(workplace.folder, "s13", [0.9943, 0.9941], first_seed=3)
    [failed] = [run for run in workplace.seeds() if run.info.status == "FAILED"]
    workplace.client.set_tag(failed.info.run_id, "error", error)
    given = ("step=s13", "target.val_acc=0.98", "until_verdict=target")
    result = workplace.run("train", "-m", "seed=range(8)", *given)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "8 not needed" in result.stdout
    assert f"the mean: {verdict}" in result.stdout
    assert f"step 13, seed 2 failed: {error}" in result.stdout
    assert len(workplace.seeds()) == 5


@pytest.mark.parametrize(
    ("diverged", "verdict"),
    [
        (("s12", "s13"), "step=s13: cannot tell (2 seeds)"),
        (("s13",), "step=s13: is worse than step=s12 by more than 0.05 points (2 seeds)"),
    ],
    ids=["in both arms", "in the second"],
)
def test_a_seed_that_diverged_in_both_arms_tells_nothing(workplace, diverged, verdict):
    for step in ("s12", "s13"):
        make(workplace.folder, step, [0.9942, 0.9940])
        if step in diverged:
            make(workplace.folder, step, [0.1], first_seed=2, failed=True)
        else:
            make(workplace.folder, step, [0.9941], first_seed=2)
    for run in workplace.seeds():
        if run.info.status == "FAILED":
            workplace.client.set_tag(run.info.run_id, "error", "Diverged: in epoch 2")
    rest = ("until_verdict=0.0005", *workplace.places)
    kept = {"hydra": {"overrides": {"task": ["seed=range(3)", "step=s12,s13", *rest]}}}
    OmegaConf.save(OmegaConf.create(kept), workplace.folder / "multirun.yaml")
    job = ("hydra.mode=MULTIRUN", f"hydra.sweep.dir={workplace.folder}", "hydra.job.num=0")
    place = f"hydra.runtime.cwd={workplace.folder}"
    with composing():
        given = ["step=s13", "seed=0", *rest, *job, place]
        cfg = compose("train", overrides=given, return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        try:
            assert verdict in "\n".join(until.judge_arms(cfg)[1])
        finally:
            HydraConfig.instance().cfg = None


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["until_verdict=target"],
        ["-m", "step=s12,s13", "seed=range(3)", "until_verdict=0.0005"],
        ["-m", "seed=range(3)", "until_verdict=0.0005"],
    ],
    ids=["no sweep", "seeds last", "one arm"],
)
def test_a_sweep_that_it_is_not_for(workplace, small, arguments):
    swept = any("step" in argument for argument in arguments)
    given = arguments + [item for item in quick(small) if not (swept and "step" in item)]
    result = workplace.run("train", *given)
    assert (
        "until_verdict is for a sweep that begins with its seeds" in result.stdout + result.stderr
    )
    assert result.returncode == 1
    assert not workplace.seeds()
    if "-m" not in arguments:
        one_line(result)
