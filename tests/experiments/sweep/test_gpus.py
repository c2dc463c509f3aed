"""Which runs of a sweep have a GPU: by their launcher, and by Ray with a pretended one."""

import subprocess

import pytest
from conftest import PROJECT, composing, configure, one_line, quick
from hydra import compose
from hydra.core.hydra_config import HydraConfig

from experiments.cli.errors import UserError
from experiments.study import steps
from experiments.sweep.callback import refuse_missing_gpu


@pytest.mark.parametrize("command", ["train", "search"])
@pytest.mark.parametrize("launcher", ["local", "ray"])
def test_local_sweeps_leave_the_gpu_alone(command, launcher):
    assert configure(command, f"launcher={launcher}").trainer.accelerator == "cpu"
    asked = configure(command, f"launcher={launcher}", "trainer.accelerator=gpu")
    assert asked.trainer.accelerator == "gpu"


def test_sweeps_for_gpus_do_not_fall_back_to_the_cpu():
    assert configure("train", "launcher=gpus").trainer.accelerator == "gpu"


@pytest.mark.parametrize(
    "given",
    [
        ("launcher=ray", "hydra.launcher.ray.remote.num_gpus=0.5"),
        ("launcher=slurm", "hydra.launcher.gres=gpu:1"),
        ("launcher=slurm", "hydra.launcher.gpus_per_node=1"),
    ],
    ids=" ".join,
)
def test_a_run_that_is_given_a_gpu_takes_it(given):
    def refuse(*accelerator: str) -> None:
        with composing():
            whole = compose("train", overrides=[*given, *accelerator], return_hydra_config=True)
        refuse_missing_gpu(whole)

    with pytest.raises(UserError, match=f"^{given[1]} gives each run a GPU, but .* take the CPU"):
        refuse()
    ray = "hydra.launcher.ray" in given[1]
    refuse("trainer.accelerator=gpu", *(["+hydra.launcher.ray.init.num_gpus=1"] if ray else []))


def test_the_last_round_of_a_search_trains_where_its_launcher_says():
    given = ("launcher=local", "checkpoints.root=other", "force=true", "trials=3")
    with composing():
        whole = compose("search", overrides=[*given], return_hydra_config=True)
        HydraConfig.instance().set_config(whole)
        try:
            cfg = steps.step_config("s13", 7)
        finally:
            HydraConfig.instance().cfg = None
    found = cfg.trainer.accelerator, cfg.checkpoints.root, cfg.force, cfg.seed, cfg.name
    assert found == ("cpu", "other", False, 7, "s13")


def test_a_sweep_does_not_wait_for_a_gpu_that_is_not_there(workplace):
    command = ("-m", "launcher=gpus", "step=s13")
    line = one_line(workplace.run("train", *command, PATH=str(workplace.folder)))
    asked = "error: hydra.launcher.ray.remote.num_gpus=0.25, but there is no nvidia-smi here"
    assert line.startswith(asked)


ON_GPU = """
from hydra.experimental.callback import Callback
class OnGPU(Callback):
    def on_job_start(self, **_):
        from pretended import pretended_gpu
        self.gpu = pretended_gpu()
        self.gpu.__enter__()
"""


@pytest.fixture
def ray_sweep(workplace, small, monkeypatch):
    """A sweep whose jobs have a share each of a GPU that Ray is told of, and that is not there; of
    two runs, if it is one of `train`."""
    (workplace.folder / "on_gpu.py").write_text(ON_GPU)
    monkeypatch.setenv("PYTHONPATH", f"{PROJECT}:{PROJECT / 'tests'}:{workplace.folder}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "99")

    def run(*overrides: str, program: str = "train") -> subprocess.CompletedProcess:
        given = ("launcher=gpus", "trainer.max_epochs=1", *overrides)
        if program == "train":
            given = quick(small, "seed=0,1", "name=it", *given)
        command = workplace.command(program, "-m", *given)
        return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)

    return run


@pytest.mark.slow
def test_runs_without_the_gpu_that_ray_was_told_of_fail(workplace, ray_sweep):
    result = ray_sweep("+hydra.launcher.ray.init.num_gpus=1")
    assert result.returncode == 1
    assert result.stderr.count(" failed trainer: No supported gpu backend found!") == 2
    assert "2 failed" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert not workplace.runs()


@pytest.mark.slow
@pytest.mark.parametrize("cluster", [False, True], ids=["started", "running"])
def test_runs_share_a_gpu_that_ray_was_told_of(workplace, ray_sweep, cluster):
    where = "+hydra.launcher.ray.init.num_gpus=1"
    if cluster:
        import ray

        ray.init(num_cpus=2, num_gpus=1, include_dashboard=False)
        where = f"hydra.launcher.ray.init.address={ray.get_runtime_context().gcs_address}"
    try:
        result = ray_sweep(where, "+hydra.callbacks.gpu._target_=on_gpu.OnGPU")
    finally:
        if cluster:
            ray.shutdown()
    assert result.returncode == 0, result.stderr
    assert "2 trained" in result.stdout
    tags = [run.data.tags for run in workplace.seeds()]
    assert [(tag["device"], tag["device.name"]) for tag in tags] == 2 * [("cuda", "pretended")]


@pytest.mark.slow
def test_workers_of_a_search_share_a_gpu_that_ray_was_told_of(workplace, small, ray_sweep):
    """All stages: short runs, a full one, and a finalist as a step."""
    (workplace.folder / "conf" / "step").mkdir(parents=True)
    result = ray_sweep(
        *("search=plain", "worker=range(2)", "trials=2", "full=1", "model.widths.0=4"),
        *("final.networks=1", "final.seeds=3", "final.max_epochs=1", "data.holdout=500"),
        *("data=idx", f"data.root={small}", *workplace.places),
        f"storage=sqlite:///{workplace.folder}/search.db",
        f"final.steps={workplace.folder}/conf/step/found",
        f"hydra.searchpath=[file://{workplace.folder}/conf]",
        "+hydra.launcher.ray.init.num_gpus=1",
        "+hydra.callbacks.gpu._target_=on_gpu.OnGPU",
        program="search",
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 searched" in result.stdout
    tags = [run.data.tags for run in workplace.seeds()]
    assert {tag.get("stage", "final") for tag in tags} == {"short", "full", "final"}
    devices = {(tag["device"], tag["device.name"], tag["backend"]) for tag in tags}
    assert devices == {("cuda", "pretended", "eager")}
