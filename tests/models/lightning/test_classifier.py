import torch
from torch.nn import functional as F

from models.lightning.classifier import Tally
from models.lightning.learner import score


def test_tally_is_the_mean_over_images_not_over_batches():
    logits, labels = torch.randn(100, 10), torch.randint(10, (100,))
    tally = Tally()
    for part in torch.arange(100).split(64):  # the last batch is smaller
        tally.add(*score(logits[part], labels[part]), len(part))
    loss, accuracy = tally.means()
    assert torch.isclose(loss, F.cross_entropy(logits, labels))
    assert torch.isclose(accuracy, (logits.argmax(1) == labels).float().mean())
