"""Random numbers of an epoch."""

import torch


def seed_epoch(seed: int, epoch: int) -> None:
    """Seed all that an epoch draws (data order, augmentation and dropout) by these two alone, so
    that a resumed run repeats what an uninterrupted one does."""
    torch.manual_seed((seed << 16) + epoch)
