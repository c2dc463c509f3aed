import torch
from torch import nn
from torch.nn import functional as F

from models.lightning.fused import score_each
from models.losses import SquaredError
from models.networks.stack import TensorDropout, with_tensor_dropout


def test_each_network_has_its_own_loss():
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 5, 10), torch.randint(10, (3, 5))
    for loss in (F.cross_entropy, SquaredError(), nn.CrossEntropyLoss(label_smoothing=0.1)):
        losses, correct = score_each(logits, labels, loss)
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
