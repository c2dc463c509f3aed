"""The first layer of every network: from pixels to numbers around zero."""

from torch import Tensor, nn


class Normalize(nn.Module):
    """uint8 images, or float from 0 to 255, [N, C, H, W] -> float of zero mean and unit deviation.

    Args:
        mean, std: of the pixels once they are scaled to 0..1; std above 0.
    """

    def __init__(self, mean: float, std: float) -> None:
        super().__init__()
        if not std > 0:
            raise ValueError(f"std must be above 0, not {std}")
        self.mean, self.std = mean, std

    def forward(self, images: Tensor) -> Tensor:
        return (images / 255 - self.mean) / self.std
