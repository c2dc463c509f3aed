"""Other ways to train, which the bench runs beside ours."""

import torch
from conftest import configure
from pretended import pretended_gpu

from experiments.benchmarks.baselines import loaders
from experiments.data.images import ImageData, Images


def test_the_baselines_of_the_bench_take_images_that_ours_moved_to_the_gpu():
    cfg = configure("bench", "data.batch_size=4")
    with pretended_gpu():
        images = Images(torch.zeros(8, 1, 28, 28, dtype=torch.uint8), torch.arange(8))
        moved = images.to(torch.device("cuda", 0))
        batch, labels = next(iter(loaders(cfg, ImageData(moved, moved, 4, 4))[0]))
    assert batch.shape == (4, 1, 28, 28)
    assert labels.device.type == "cpu"
