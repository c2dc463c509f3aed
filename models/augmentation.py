"""What is done to a whole batch at once, on the device that holds it, before the network sees it.

Random augmentations are active in training mode only, and map float [N, C, H, W] to the same shape.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from models.checks import Odd, checked

Pair = Field(min_length=2, max_length=2)
Share = Annotated[float, Field(ge=0, le=1)]


class Normalize(nn.Module):
    """uint8 images, or float from 0 to 255, [N, C, H, W] -> float of zero mean and unit deviation.

    `mean`, `std`: of the pixels once they are scaled to 0..1.
    """

    @checked
    def __init__(self, mean: float, std: Annotated[float, Field(gt=0)]) -> None:
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, images: Tensor) -> Tensor:
        return (images / 255 - self.mean) / self.std


class RandomAffine(nn.Module):
    """Rotates, shifts and scales each image about its centre, then changes its contrast and its
    brightness, by amounts of its own.

    Every amount is drawn uniformly. Images are square; what is outside them is zero (black).

    Args:
        degrees: rotation between -degrees and +degrees.
        translate: shift along each axis, at most this fraction of the side.
        scale: size between 1 - scale and 1 + scale.
        contrast: pixels are multiplied by 1 - contrast to 1 + contrast, and stay within 0 to 255.
        brightness: at most this fraction of 255 is added to them, or taken off.
        probability: that an image is moved, and that its pixels are changed; None: 1.
    """

    @checked
    def __init__(
        self,
        degrees: Annotated[float, Field(ge=0, le=180)] = 0.0,
        translate: Share = 0.0,
        scale: Annotated[float, Field(ge=0, le=0.99)] = 0.0,
        mode: Literal["nearest", "bilinear"] = "nearest",
        contrast: Share | None = None,
        brightness: Share | None = None,
        probability: Share | None = None,
    ) -> None:
        super().__init__()
        self.degrees, self.translate, self.scale, self.mode = degrees, translate, scale, mode
        self.contrast, self.brightness = contrast or 0.0, brightness or 0.0
        self.probability = probability

    def forward(self, images: Tensor) -> Tensor:
        if not self.training:
            return images
        count, side = len(images), images.shape[-1]
        # uniform in [-1, 1): angle, size, shift along x and y
        draws = torch.rand(4, count, 1, 1, device=images.device) * 2 - 1
        angle = draws[0] * math.radians(self.degrees)
        cos, sin = angle.cos(), angle.sin()
        if self.scale:
            size = 1 + draws[1] * self.scale
            cos, sin = cos / size, sin / size
        x = pixel_centres(side, images.device)
        y = x[:, None]
        # not F.affine_grid: its product of matrices with three columns takes longest of all
        across = torch.stack((cos * x, sin * x), dim=-1)  # [N, 1, S, 2]
        grid = across + torch.stack((-sin * y, cos * y), dim=-1)  # [N, S, S, 2]
        if self.translate:
            grid += draws[2:].permute(1, 2, 3, 0) * (2 * self.translate)  # it is two units wide
        moved = F.grid_sample(images, grid, mode=self.mode, align_corners=False)
        moved = change_some(moved, images, self.probability)
        if not (self.contrast or self.brightness):
            return moved
        factor, shift = torch.rand(2, count, 1, 1, 1, device=images.device) * 2 - 1
        changed = moved * (1 + factor * self.contrast) + shift * (255 * self.brightness)
        return change_some(changed.clamp(0, 255), moved, self.probability)


def change_some(changed: Tensor, images: Tensor, probability: float | None) -> Tensor:
    """Each image as it was, or with this probability changed."""
    if probability is None:
        return changed
    chosen = torch.rand(len(images), 1, 1, 1, device=images.device) < probability
    return torch.where(chosen, changed, images)


def pixel_centres(count: int, device: torch.device) -> Tensor:
    """The centres of a row of pixels on the sampling grid, from -1 to 1."""
    return (2 * torch.arange(count, device=device) + 1) / count - 1


class GaussianBlur(nn.Module):
    """Blurs each image with a deviation of its own, drawn uniformly; edges are mirrored.

    `kernel`: its width and height; `sigma`: lowest and highest deviation; all in pixels.
    """

    @checked
    def __init__(
        self,
        kernel: Annotated[Sequence[Odd], Pair],
        sigma: Annotated[Sequence[Annotated[float, Field(gt=0)]], Pair],
    ) -> None:
        super().__init__()
        self.kernel, self.sigma = kernel, sorted(sigma)

    def forward(self, images: Tensor) -> Tensor:
        if not self.training:
            return images
        count = len(images)
        low, high = self.sigma
        sigma = low + torch.rand(count, 1, device=images.device) * (high - low)
        x = images.transpose(0, 1)  # each image is a group of one convolution, with its own kernel
        for size, horizontal in zip(self.kernel, (True, False), strict=True):
            half = size // 2
            distance = torch.arange(size, device=images.device) - half
            weights = (-0.5 * (distance / sigma) ** 2).softmax(1)
            padding = (half, half, 0, 0) if horizontal else (0, 0, half, half)
            shape = (count, 1, 1, size) if horizontal else (count, 1, size, 1)
            x = F.conv2d(F.pad(x, padding, mode="reflect"), weights.view(shape), groups=count)
        return x.transpose(0, 1)
