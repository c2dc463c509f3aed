"""Training on a pretended GPU: the figures of the CPU, and no wait of the host within a step."""

from collections.abc import Iterator
from functools import cache
from itertools import cycle, islice

import pytest
import pytorch_lightning as pl
import torch
from conftest import configure, own_conf
from omegaconf import DictConfig, OmegaConf
from pretended import PretendedGPU, pretended_gpu
from torch import Tensor, nn

from experiments.budget.network import build_network
from experiments.cli.errors import UserError
from experiments.data.images import Batches, ImageData, Images
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
