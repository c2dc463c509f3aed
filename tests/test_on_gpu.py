"""What only a real GPU can tell: make test-gpu. The table that it ends with is in mlruns/gpu.md."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from conftest import PROJECT, Workplace, configure
from torch import Tensor

from experiments.budget.network import build_network
from experiments.cli.config import build
from experiments.data.images import ImageData, load
from experiments.training.module import fuse, make_module
from experiments.training.trainer import set_precision
from models.lightning.classifier import Classifier

pytestmark = pytest.mark.gpu
GPU = torch.device("cuda", 0)


@pytest.fixture(scope="module")
def found() -> Iterator[dict[str, str]]:
    """Rows of the table: what was measured, and what came out."""
    rows = {"GPU": torch.cuda.get_device_name(0), "PyTorch": torch.__version__}
    yield rows
    lines = ("| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items()), "")
    path = PROJECT / "mlruns" / "gpu.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines), encoding="utf-8")
    print("\n" + "\n".join(lines))


@pytest.fixture(scope="module")
def images() -> ImageData:
    return load(configure("train", "step=s13"))[0]


def train(data: ImageData, *overrides: str, seeds: int = 1, callback=None) -> Classifier:
    """An epoch of step 13 on all of MNIST; of so many fused networks, if not of one."""
    cfg = configure("train", "step=s13", "trainer.max_epochs=1", *overrides)
    set_precision(cfg, GPU)
    torch.manual_seed(0)
    networks = [build(cfg, "model") for _ in range(seeds)]
    count = len(data.train.labels)
    if seeds > 1:
        module = fuse([cfg] * seeds, networks, count, GPU)
    else:
        module = make_module(cfg, networks[0], count)
    data.fused_seeds = list(range(seeds)) if seeds > 1 else None
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="gpu",
        devices=1,
        precision=cfg.trainer.precision,
        deterministic=True,
        logger=False,
        callbacks=callback,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)
    return module


def losses(module: Classifier) -> Tensor:
    return torch.stack([loss for loss, *_ in module.train_scores]).cpu()


@pytest.mark.parametrize("compiled", ["true", "false"], ids=["CUDA graphs", "eager"])
def test_two_runs_of_a_seed_are_equal_to_the_last_bit(found, images, compiled):
    one, other = (train(images, f"compile={compiled}") for _ in range(2))
    assert one.learn.backend == ("CUDA graphs" if compiled == "true" else "eager")
    equal = torch.equal(losses(one), losses(other)) and all(
        torch.equal(*pair) for pair in zip(one.parameters(), other.parameters(), strict=True)
    )
    found[f"two runs of a seed, {one.learn.backend}"] = "equal" if equal else "differ"
    assert equal


class Clock(pl.Callback):
    """The milliseconds of a batch, from batch 100 of an epoch on."""

    def on_train_batch_start(self, trainer: pl.Trainer, module, batch, index: int) -> None:
        if index == 100:
            torch.cuda.synchronize()
            self.began = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, module, outputs, batch, index: int) -> None:
        if trainer.is_last_batch:
            torch.cuda.synchronize()
            seconds = time.perf_counter() - self.began
            self.milliseconds = 1000 * seconds / (index - 99)


def test_what_is_compiled_learns_as_plain_pytorch_does_and_faster(found, images):
    """Without dropout and augmentation, which draw other numbers."""
    seconds, curves, clock = {}, {}, Clock()
    for compiled in ("true", "false"):
        still = ("model.dropout=0", "augmentation.degrees=0", f"compile={compiled}")
        train(images, *still)
        began = time.perf_counter()
        module = train(images, *still, callback=clock)
        curves[compiled] = losses(module)
        took = f"{time.perf_counter() - began:.2f} s, {clock.milliseconds:.2f} ms a batch"
        seconds[module.learn.backend] = took
    first = (curves["true"] - curves["false"])[:20].abs().max()
    last = abs(curves["true"][-100:].mean() / curves["false"][-100:].mean() - 1)
    found["compiled against eager, losses of 20 batches"] = f"at most {first:.1e} apart"
    found["compiled against eager, mean loss of the last 100"] = f"{last:.1%} apart"
    for backend, value in seconds.items():
        found[f"an epoch, {backend}, all included, and a batch of 64"] = value
    assert first < 0.01
    assert last < 0.1


class Launches(pl.Callback):
    """Counts the launches of CUDA graphs in the batches 500 to 510."""

    def on_train_batch_start(self, trainer: pl.Trainer, module, batch, index: int) -> None:
        if index == 500:
            self.profiler = torch.profiler.profile()
            self.profiler.start()

    def on_train_batch_end(self, trainer: pl.Trainer, module, outputs, batch, index: int) -> None:
        if index == 509:
            torch.cuda.synchronize()
            self.profiler.stop()
            events = self.profiler.key_averages()
            self.count = sum(each.count for each in events if each.key == "cudaGraphLaunch")


def test_both_passes_of_a_step_are_a_cuda_graph(found, images):
    launches = Launches()
    train(images, "compile=true", callback=launches)
    found["launches of CUDA graphs in 10 steps"] = str(launches.count)
    assert launches.count == 20


@pytest.mark.parametrize("key", [None, "true"], ids=["in full", "TF32"])
def test_products_have_the_bits_that_the_configuration_says(found, images, key):
    """Of step 1, with 32 channels: on an H200, TF32 changed nothing in step 13, with 10 to 12."""
    cfg = configure("train", "step=s01", f"tf32={key or 'null'}")
    if key and torch.cuda.get_device_capability(GPU) < (8, 0):
        pytest.skip("this GPU has no TF32")
    set_precision(cfg, GPU)
    network = build_network(cfg).to(GPU).eval()
    x = images.val.images[:1000].to(GPU) / 255.0
    with torch.no_grad():
        outputs, exact = network(x), network.double()(x.double())
    error = ((outputs - exact).abs().max() / exact.abs().max()).item()
    found[f"largest error of the outputs, tf32={key or 'null'}"] = f"{error:.1e} of the largest"
    assert (1e-5 < error < 1e-2) if key else error < 1e-5


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_fewer_bits_learn_too(found, images, precision):
    module = train(images, f"trainer.precision={precision}", "compile=true")
    last = losses(module)[-100:].mean().item()
    found[f"{precision}, mean loss of the last 100"] = f"{last:.3f}, by {module.learn.backend}"
    assert last < 0.3


def test_thirty_two_seeds_fit_and_are_those_that_they_are_alone(found, images):
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    module = train(images, "compile=true", seeds=32)
    seconds, memory = time.perf_counter() - began, torch.cuda.max_memory_reserved() / 2**30
    found["32 seeds fused, an epoch, all included"] = f"{seconds:.1f} s, {memory:.2f} GiB"
    alone = losses(train(images, "compile=true"))[-100:].mean()
    together = losses(module)[-100:].mean(0)
    found["32 seeds fused, mean loss of the last 100"] = f"{together.mean():.3f}; alone {alone:.3f}"
    assert module.learn.backend == "CUDA graphs"
    assert (together / alone - 1).abs().max() < 0.5


def seconds_of(folder: Path, *arguments: str, **environment: str) -> float:
    """The time that a command with eight seeds takes, in a store of its own."""
    folder.mkdir()
    short = ("step=s13", "trainer.max_epochs=2", "tracking.model=false")
    workplace = Workplace(folder)
    command = workplace.command("train", *arguments, *short)
    began = time.perf_counter()
    result = subprocess.run(
        command,
        cwd=PROJECT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    runs = workplace.seeds()
    assert {(run.info.status, run.data.tags["device"]) for run in runs} == {("FINISHED", "cuda")}
    assert len(runs) == 8
    return time.perf_counter() - began


def test_eight_seeds_as_one_program_and_in_processes(found, tmp_path):
    fused = seconds_of(tmp_path / "fused", "fused.seed=8")
    processes = seconds_of(tmp_path / "processes", "-m", "seed=range(8)", "launcher=gpus")
    found["8 seeds, 2 epochs: fused.seed=8"] = f"{fused:.0f} s"
    found["8 seeds, 2 epochs: launcher=gpus"] = f"{processes:.0f} s"


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one GPU")
def test_two_gpus_take_turns(found, tmp_path):
    sweep = ("-m", "seed=range(8)", "launcher=gpus")
    one = seconds_of(tmp_path / "one", *sweep, CUDA_VISIBLE_DEVICES="0")
    two = seconds_of(tmp_path / "two", *sweep, CUDA_VISIBLE_DEVICES="0,1")
    found["8 seeds, 2 epochs: launcher=gpus with 1 GPU and with 2"] = f"{one:.0f} s, {two:.0f} s"
