import torch
from torch.nn import functional as F

from models.lightning.classifier import means
from models.lightning.learner import score


def test_means_are_over_images_not_over_batches():
    logits, labels = torch.randn(100, 10), torch.randint(10, (100,))
    parts = torch.arange(100).split(64)  # the last batch is smaller
    batches = [(*score(logits[part], labels[part]), len(part)) for part in parts]
    loss, accuracy = means(batches)
    assert torch.isclose(loss, F.cross_entropy(logits, labels))
    assert torch.isclose(accuracy, (logits.argmax(1) == labels).float().mean())
