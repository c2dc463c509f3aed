import copy
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from torch import nn
from torch.func import vmap
from torch.nn import functional as F
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from experiments.data.images import ImageData, Images
from models.augmentation import RandomAffine
from models.lightning.classifier import Classifier
from models.lightning.fused import FusedClassifier, loss_each
from models.lightning.learner import score
from models.losses import SquaredError
from models.networks.blocknet import BlockNet
from models.networks.ladder import LadderNet
from models.networks.stack import NetworkStack, TensorDropout, load_from_stack, with_tensor_dropout

METRICS = ("train/loss", "train/acc", "val/loss", "val/acc")


class Recorder(Checkpoint):
    """Keeps the loss of every batch, and the figures of every epoch, once the module has them."""

    def __init__(self) -> None:
        self.losses: list[torch.Tensor] = []
        self.figures: list[torch.Tensor] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        self.losses += [loss for loss, *_ in module.train_scores]
        figures = trainer.callback_metrics or module.metrics
        self.figures.append(torch.stack([torch.as_tensor(figures[name]) for name in METRICS]))


def trained(module: pl.LightningModule, seeds: list[int] | None = None) -> Recorder:
    """Train two epochs on 136 random images, in batches of 32; `seeds` where it is fused."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (200, 1, 28, 28), dtype=torch.uint8, generator=generator)
    labels = torch.randint(10, (200,), generator=generator)
    train, val = Images(pixels[:136], labels[:136]), Images(pixels[136:], labels[136:])
    data = ImageData(train, val, 32, 32)
    data.fused_seeds = seeds
    recorder = Recorder()
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[recorder],
    )
    trainer.fit(module, data)
    return recorder


def networks(dropouts: list[float]) -> list[nn.Module]:
    torch.manual_seed(0)
    return [LadderNet([6, 6, 8], dropout=dropout) for dropout in dropouts]


OPTIONS = {
    "scheduler": partial(StepLR, step_size=1, gamma=0.1),
    "mean": 0.5,
    "std": 0.5,
    "batch_size": 32,
}


def test_one_fused_is_what_it_would_have_been_alone():
    """With augmentation and dropout; alone with TensorDropout too, as it draws differently."""
    make = partial(SGD, lr=0.1, momentum=0.9)
    [network] = networks([0.3])
    options = OPTIONS | {"augmentation": RandomAffine(degrees=20, translate=0.1)}
    alone = Classifier(with_tensor_dropout(network), make, seed=3, **options)
    fused = FusedClassifier([network], [make], **options)
    expected, recorded = trained(alone), trained(fused, [3])
    assert torch.allclose(torch.cat(recorded.losses), torch.stack(expected.losses), rtol=1e-5)
    for ours, theirs in zip(recorded.figures, expected.figures, strict=True):
        assert torch.allclose(ours.flatten(), theirs, rtol=1e-5)
    for name, tensor in alone.network.state_dict().items():
        assert torch.allclose(fused.network.stacked()[name][0], tensor, atol=1e-5), name


@pytest.mark.parametrize("blocks", ["plain", "shared"])
def test_many_fused_are_what_they_would_have_been_alone(blocks):
    """Each with its own order and learning rate, but without what is drawn for all at once."""

    def networks() -> list[nn.Module]:
        torch.manual_seed(0)
        return [BlockNet([6, 6, 8], blocks=[blocks, "plain", blocks]) for _ in range(3)]

    seeds, rates = [3, 4, 5], [0.1, 0.1, 0.02]
    makes = [partial(SGD, lr=rate, momentum=0.9) for rate in rates]
    fused = FusedClassifier(networks(), makes, **OPTIONS)
    assert fused.group_of == [0, 0, 1]
    losses = torch.stack(trained(fused, seeds).losses)
    for i, (network, make, seed) in enumerate(zip(networks(), makes, seeds, strict=True)):
        alone = Classifier(network, make, seed=seed, **OPTIONS)
        expected = torch.stack(trained(alone).losses)
        assert torch.allclose(losses[:, i], expected, rtol=1e-4)
        taken = copy.deepcopy(network)
        nn.init.zeros_(next(taken.parameters()))
        load_from_stack(taken, fused.network.stacked(), i)
        for name, tensor in network.state_dict().items():
            assert torch.allclose(taken.state_dict()[name], tensor, atol=1e-4), name


def test_a_stack_with_a_shared_block_is_compiled():
    """As on a GPU, where all networks run at once."""
    torch.manual_seed(0)
    blocks = ["shared", "plain", "shared"]
    stack = NetworkStack([BlockNet([6, 6, 8], blocks=blocks, dropout=0.1) for _ in range(2)], [2])
    together = partial(vmap(stack.eval().one, randomness="different"), stack.stacked())
    images = torch.randn(2, 4, 1, 28, 28)
    torch.compiler.reset()
    compiled = torch.compile(together, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(images), stack(images))


def test_each_network_has_its_own_loss():
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 5, 10), torch.randint(10, (3, 5))
    for loss in (F.cross_entropy, SquaredError(), nn.CrossEntropyLoss(label_smoothing=0.1)):
        losses, correct = score(logits, labels, partial(loss_each, loss))
        for one, ours, theirs, right in zip(losses, logits, labels, correct, strict=True):
            assert torch.allclose(one, loss(ours, theirs))
            assert right == (ours.argmax(1) == theirs).sum()


def test_dropout_of_values_and_of_channels_keeps_its_p_in_a_tensor():
    network = with_tensor_dropout(nn.Sequential(nn.Dropout2d(0.3), nn.Flatten(), nn.Dropout(0.2)))
    channels, _, values = network
    assert isinstance(channels, TensorDropout)
    assert isinstance(values, TensorDropout)
    ones = torch.ones(200, 10, 4, 4)
    dropped = channels(ones) == 0
    assert torch.equal(dropped.all((2, 3)), dropped.any((2, 3)))  # whole channels
    assert abs(dropped.float().mean() - 0.3) < 0.05
    kept = values(ones.flatten(1))
    assert abs((kept == 0).float().mean() - 0.2) < 0.02
    assert abs(kept.mean() - 1) < 0.02
    network.eval()
    assert torch.equal(network(ones), ones.flatten(1))
