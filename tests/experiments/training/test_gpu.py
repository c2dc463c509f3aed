"""Training on a pretended GPU: the figures of the CPU, and no wait of the host within a step."""

import subprocess
from collections.abc import Iterator
from contextlib import nullcontext
from functools import cache
from itertools import cycle, islice

import pytest
import pytorch_lightning as pl
import torch
from conftest import (
    EPOCH_METRICS,
    PROJECT,
    Workplace,
    composing,
    configure,
    one_line,
    own_conf,
    quick,
)
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from pretended import PretendedGPU, pretended_gpu
from torch import Tensor, nn

from experiments.benchmarks.baselines import loaders
from experiments.budget.network import build_network
from experiments.cli.errors import UserError
from experiments.data.images import Batches, ImageData, Images
from experiments.study import steps
from experiments.sweep.callback import refuse_missing_gpu
from experiments.training import outputs
from experiments.training.history import History
from experiments.training.module import fuse, make_module, predict
from experiments.training.trainer import set_precision
from models import augmentation
from models.lightning.classifier import Classifier
from models.lightning.learner import Learner, Scores
from models.losses import Distillation
from models.networks import blocks

GROUPS = ("model", "loss", "augmentation", "optimizer", "scheduler")
STEPS = ("s01", "s02", "s13", "s14", "found/hand")  # the others have their layers
# a network of millions of weights, with its layers and few channels
VGG16 = ("experiment=kaggle_vgg16", f"model.widths={13 * [2]}", "model.hidden=[4,4]")
# what no file of conf/ has: the other blocks, norms, pools and activations
BLOCKS = "model.blocks=[separable,bottleneck,residual,squeeze,shared]"
OTHERS = [
    ("model=blocks", BLOCKS, "model.norm=layer", "model.pool=average", "model.activation=gelu"),
    ("model=blocks", "model.activation=leaky_relu", "model.norm=null", "model.bias=true"),
    ("model=blocks", "model.activation=hardswish", "+model.global_average_pool=false"),
    ("model=blocks", "model.activation=silu", "model.dropout=0.1", "model.kernels=5"),
    ("model=blocks", "model.activation=elu"),
    ("model=blocks", "model.norm=batch_without_weights", "model.norm_first=true"),
    ("loss=distillation", "loss.teacher=a_run"),
    ("model=convnet", "model.batch_norm=true"),
    ("model=mlp", "model.batch_norm=true", "model.activation=tanh"),
    ("step=s13", "branches=true"),
]


def files(group: str) -> list[str]:
    folder = own_conf() / group
    return [str(f.relative_to(folder).with_suffix("")) for f in sorted(folder.rglob("*.yaml"))]


def configurations() -> list[tuple[str, ...]]:
    """Each file of the groups in at least one of them; then experiments, then steps."""
    columns = [[f"{group}={n}" for n in files(group) if n != "distillation"] for group in GROUPS]
    mixed = islice(zip(*map(cycle, columns), strict=True), max(map(len, columns)))
    small = [(f"experiment={n}",) for n in files("experiment") if f"experiment={n}" != VGG16[0]]
    return [*mixed, *OTHERS, *small, VGG16, *((f"step={n}",) for n in STEPS)]


class WithinSteps(pl.Callback):
    """Collects where the host waited within a step, and from one step to the next."""

    def __init__(self, gpu: PretendedGPU) -> None:
        self.gpu, self.waits = gpu, []

    def on_train_batch_start(self, trainer: pl.Trainer, module, batch, index: int) -> None:
        if index == 0:  # an epoch may wait before its first step
            self.before = len(self.gpu.waits)

    def on_train_batch_end(self, *_) -> None:
        self.waits += self.gpu.waits[self.before :]
        self.before = len(self.gpu.waits)


@cache  # it takes as long as the rest of a test
def composed(given: tuple[str, ...]) -> DictConfig:
    return configure("train", *given, "compile=false", "data.batch_size=8", "trainer.max_epochs=1")


def train(device: torch.device, given: tuple[str, ...], fused: bool, *callbacks) -> Classifier:
    """An epoch of three batches, the last of which is smaller, and of a validation."""
    cfg = composed(given)
    images = torch.arange(20 * 28 * 28).mul(7919).remainder(251).byte().view(20, 1, 28, 28)
    images = images.expand(-1, cfg.data.in_channels, -1, -1)
    labels = torch.arange(20) % cfg.data.num_classes
    data = ImageData(Images(images, labels), Images(images[:9], labels[:9]), 8, 8)
    seeds = [cfg.seed + index for index in range(1 + fused)]
    networks = [build_network(OmegaConf.merge(cfg, {"seed": seed})) for seed in seeds]
    if fused:
        for network in networks:  # all at once they would draw other numbers
            for layer in network.modules():
                layer.p = 0.0
        data.fused_seeds = seeds
        module = fuse([cfg, cfg], networks, 20, device)
    else:
        module = make_module(cfg, networks[0], 20)
    if isinstance(module.learn.loss, Distillation):
        module.learn.loss.network = lambda images: (images.flatten(1)[:, :10] / 255).softmax(1)
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator=device.type,
        precision=cfg.trainer.precision,
        deterministic=True,
        logger=False,
        callbacks=list(callbacks),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(module, data)
    return module


def train_on_gpu(given: tuple[str, ...], fused: bool = False) -> Classifier:
    with pretended_gpu() as gpu:
        within = WithinSteps(gpu)
        module = train(torch.device("cuda", 0), given, fused, within)
        assert gpu.waits, "it says nothing"
        assert not within.waits, f"the host waits within a step: {within.waits[0]}"
        module.train_scores = [(loss.cpu(), *rest) for loss, *rest in module.train_scores]
        return module.cpu()


def losses(module: Classifier) -> list[Tensor]:
    return [loss for loss, *_ in module.train_scores]


@pytest.mark.parametrize("fused", [False, True], ids=["alone", "fused"])
@pytest.mark.parametrize("given", configurations(), ids=" ".join)
def test_every_file_of_conf_trains_as_on_the_cpu(given, fused):
    ours, theirs = train_on_gpu(given, fused), train(torch.device("cpu"), given, fused)
    precise = {"rtol": 1e-3, "atol": 1e-3} if fused else {"rtol": 0, "atol": 0}
    torch.testing.assert_close(losses(ours), losses(theirs), **precise)
    torch.testing.assert_close(
        dict(ours.network.state_dict()), dict(theirs.network.state_dict()), **precise
    )


def test_a_wait_in_the_step_is_seen(monkeypatch):
    step = Classifier.training_step

    def waiting(*args) -> torch.Tensor:
        loss = step(*args)
        float(loss)
        return loss

    monkeypatch.setattr(Classifier, "training_step", waiting)
    with pytest.raises(AssertionError, match="waits within a step"):
        train_on_gpu(("step=s13",))


def test_a_wait_for_the_next_batch_is_seen(monkeypatch):
    batches = Batches.__iter__

    def waiting(self: Batches) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in batches(self):
            labels.max().item()
            yield images, labels

    monkeypatch.setattr(Batches, "__iter__", waiting)
    with pytest.raises(AssertionError, match="waits within a step"):
        train_on_gpu(("step=s13",))


def test_a_tensor_of_the_cpu_in_an_augmentation_is_seen(monkeypatch):
    centres = augmentation.pixel_centres
    monkeypatch.setattr(augmentation, "pixel_centres", lambda n, _: centres(n, torch.device("cpu")))
    with pytest.raises(RuntimeError, match="all tensors to be on the same device"):
        train_on_gpu(("step=s13",))


def test_a_label_left_on_the_cpu_is_seen(monkeypatch):
    monkeypatch.setattr(Images, "to", lambda self, to: Images(self.images.to(to), self.labels))
    with pytest.raises(RuntimeError, match="all tensors to be on the same device"):
        train_on_gpu(("step=s13",))


def test_an_operation_that_cannot_be_repeated_is_seen(monkeypatch):
    monkeypatch.setitem(blocks.POOLS, "max", lambda _: nn.AdaptiveAvgPool2d(14))
    with pytest.raises(RuntimeError, match="no deterministic implementation"):
        train_on_gpu(("step=s13", "+model.pools=[2]"))


def test_gradients_are_dropped_before_a_cuda_graph_overwrites_them(monkeypatch):
    learn = Learner.__call__

    def checked(self: Learner, *batch: torch.Tensor) -> Scores:
        assert all(weight.grad is None for weight in self.network.parameters())
        return learn(self, *batch)

    monkeypatch.setattr(Learner, "__call__", checked)
    train(torch.device("cpu"), ("step=s13",), False)


def test_a_module_that_predicted_on_a_gpu_trains_again():
    module = train(torch.device("cpu"), ("step=s13",), False)
    images, gpu = torch.zeros(8, 1, 28, 28, dtype=torch.uint8), torch.device("cuda", 0)
    with pretended_gpu():
        assert predict(module, images, 4, gpu).shape == (8,)
        loss, _ = module.train().learn(images.to(gpu), torch.arange(8).to(gpu))
        loss.backward()


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


@pytest.fixture
def flags():
    """Which of PyTorch's libraries may use TF32."""
    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [flag.allow_tf32 for flag in flags]
    yield flags
    for flag, value in zip(flags, before, strict=True):
        flag.allow_tf32 = value


def test_a_gpu_multiplies_in_the_bits_that_are_configured(flags, monkeypatch):
    gpu, capability = torch.device("cuda", 0), (8, 0)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU of 2018")
    for given, used in (("tf32=null", False), ("tf32=true", True), ("tf32=null", False)):
        set_precision(configure("train", "step=s13", given, "trainer.precision=16-mixed"), gpu)
        assert [flag.allow_tf32 for flag in flags] == [used, used]
    capability = (7, 5)
    with pytest.raises(UserError, match="needs an NVIDIA GPU from Ampere on, not a GPU of 2018"):
        set_precision(configure("train", "step=s13", "tf32=true"), gpu)


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


@pytest.fixture
def train_on(workplace, small, run_here, monkeypatch):
    """Train on "gpu" or "cpu" from the last checkpoint, and stop in epoch `killed_in`, or before
    the weights are scored if there is no such epoch; the output of what was not stopped."""

    def run(device: str, *overrides: str, place=workplace, killed_in: int | None = None) -> str:
        def kill(module: Classifier, *_) -> None:
            if module.current_epoch + 1 == killed_in:
                raise KeyboardInterrupt

        monkeypatch.setattr(Classifier, "on_train_batch_end", kill)
        monkeypatch.setattr(Classifier, "on_train_end", kill)
        short = ("trainer.max_epochs=4", "+trainer.limit_train_batches=3", "data.batch_size=64")
        given = quick(small, *short, "data.holdout=500", f"trainer.accelerator={device}", "name=it")
        with pretended_gpu() if device == "gpu" else nullcontext():
            status, output, errors = run_here("train", *place.places, *given, *overrides)
        assert status == (130 if killed_in else 0), errors
        return output

    return run


def test_a_run_moves_between_devices_and_says_so(workplace, train_on, monkeypatch):
    """From a GPU to the CPU and back; the best epoch is of the GPU, and is scored on the CPU."""
    monkeypatch.setattr(outputs, "log_artifacts", lambda *_: None)  # these take a second
    train_on("gpu", killed_in=2)
    train_on("cpu", killed_in=3)
    train_on("gpu", killed_in=5)
    output = train_on("cpu")
    [run] = workplace.seeds()
    tags, metrics = run.data.tags, run.data.metrics
    changes = (
        "epochs 1 to 1 on cuda by eager; epochs 2 to 2 on cpu by native (resumed); "
        "epochs 3 to 4 on cuda by eager (resumed); scored on cpu (resumed)"
    )
    assert tags["backend.changes"] == changes
    assert f"trained in more than one way: {changes}" in output
    assert (tags["backend"], tags["begun.device"], tags["device"]) == ("eager", "cuda", "cpu")
    assert metrics["val/best_epoch"] in (3, 4)
    assert metrics["test/acc"] > 0.1


def test_what_changed_has_its_reason(tmp_path):
    history = History([], tmp_path)
    eager, graphs = ("cuda", "eager, as no Triton is here"), ("cuda", "CUDA graphs")
    history.trained_by = [graphs, graphs, eager, ("cuda", "eager")]
    history.resumed = [0, 2]
    assert history.changes("cuda") == (
        "epochs 1 to 2 on cuda by CUDA graphs; epochs 3 to 3 on cuda by eager, as no Triton is "
        "here (resumed); epochs 4 to 4 on cuda by eager (batches of another size)"
    )
    history.trained_by = [graphs] * 4  # whoever trained them
    assert history.changes("cuda") is None


@pytest.mark.slow
def test_fused_runs_go_on_after_a_kill_and_move_between_devices(tmp_path_factory, train_on):
    """Killed and resumed on a GPU, which leaves no trace; then on the CPU, and on the GPU again,
    where the pretended one differs from the CPU by the last digits. Dropout draws other numbers."""
    stayed, moved = (Workplace(tmp_path_factory.mktemp(name)) for name in ("stayed", "moved"))
    many = ("fused.seed=2", "model.dropout=0")
    assert "trained in more than one way" not in train_on("gpu", *many, place=stayed)
    for device, epoch in (("gpu", 2), ("gpu", 3), ("cpu", 4)):
        train_on(device, *many, place=moved, killed_in=epoch)
    output = train_on("gpu", *many, place=moved)
    changes = (
        "epochs 1 to 2 on cuda by eager; epochs 3 to 3 on cpu by eager (resumed); "
        "epochs 4 to 4 on cuda by eager (resumed)"
    )
    assert f"trained in more than one way: {changes}" in output
    assert [run.data.tags["backend.changes"] for run in moved.seeds()] == [changes] * 2
    for name in sorted(EPOCH_METRICS - {"epoch_seconds"}):
        whole, parts = (
            {run.info.run_name: place.history(run.info.run_id, name) for run in place.seeds()}
            for place in (stayed, moved)
        )
        assert len(whole) == 2
        for seed, epochs in whole.items():
            assert parts[seed][:2] == epochs[:2], name
            for one, other in zip(parts[seed], epochs, strict=True):
                assert one == pytest.approx(other, abs=2e-3), name


def test_the_baselines_of_the_bench_take_images_that_ours_moved_to_the_gpu():
    cfg = configure("bench", "data.batch_size=4")
    with pretended_gpu():
        images = Images(torch.zeros(8, 1, 28, 28, dtype=torch.uint8), torch.arange(8))
        moved = images.to(torch.device("cuda", 0))
        batch, labels = next(iter(loaders(cfg, ImageData(moved, moved, 4, 4))[0]))
    assert batch.shape == (4, 1, 28, 28)
    assert labels.device.type == "cpu"
