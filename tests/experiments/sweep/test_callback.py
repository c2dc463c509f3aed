"""What the parent of a sweep does before its first job."""

import subprocess
import sys

import pytest
from conftest import PROJECT, quick
from hydra import initialize_config_dir

from experiments.sweep.callback import count_jobs


@pytest.mark.parametrize(
    ("overrides", "jobs"),
    [
        (["step=s13"], 1),
        (["step=glob(*)", "seed=range(5)"], 13 * 5),
        (["step=glob(*,exclude=s0*)", "seed=1,2", "+model.x=[1,2]"], 4 * 2),
        (["seed=range(5)", "seed=1,2"], 2),
        (["~scheduler", "seed=choice(1,2,3)"], 3),
    ],
)
def test_the_jobs_of_a_sweep_are_counted(overrides, jobs):
    with initialize_config_dir(version_base="1.3", config_dir=str(PROJECT / "conf")):
        assert count_jobs(overrides) == jobs


TRAIN = """
import sys
import experiments.sweep.preload
before = set(sys.modules)
from experiments.train import main
main()
late = set(sys.modules) - before
print(*sorted(late))
print(len(late) / len(sys.modules))
"""
HEAVY = ("experiments.budget", "experiments.tracking", "experiments.training", "models.lightning")


def test_the_imports_ahead_are_those_of_a_run(workplace, small):
    """A stale name would make every worker import for itself, and nobody would see it."""
    command = [*workplace.places, *quick(small, "trainer.max_epochs=1")]
    result = subprocess.run(
        [sys.executable, "-c", TRAIN, *command],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    *_, late, share = result.stdout.splitlines()
    assert [name for name in late.split() if name.startswith(HEAVY)] == []
    assert float(share) < 0.03
