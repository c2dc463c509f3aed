"""Augmentation of a whole batch at once, on the device where it lies."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RandomAffine(nn.Module):
    """Rotates, shifts and scales each image by amounts of its own, about its centre.

    Every amount is drawn uniformly. What comes in from outside the image is zero
    (black). Not active in evaluation mode.

    Args:
        degrees: rotation between -degrees and +degrees.
        translate: shift along each axis, at most this fraction of the side, 0 to 1.
        scale: size between 1 - scale and 1 + scale, scale in [0, 1).
        mode: interpolation, "nearest" or "bilinear".

    Shapes:
        float [N, C, H, W] -> the same.

    Raises:
        ValueError: an amount or the mode is out of range.
    """

    def __init__(
        self,
        degrees: float = 0.0,
        translate: float = 0.0,
        scale: float = 0.0,
        mode: str = "nearest",
    ) -> None:
        super().__init__()
        for name, value, limit in (
            ("degrees", degrees, 180),
            ("translate", translate, 1),
            ("scale", scale, 0.99),
        ):
            if not isinstance(value, int | float) or not 0 <= value <= limit:
                raise ValueError(f"{name} must be a number from 0 to {limit}, not {value}")
        if mode not in ("nearest", "bilinear"):
            raise ValueError(f"mode must be nearest or bilinear, not {mode}")
        self.degrees, self.translate, self.scale, self.mode = degrees, translate, scale, mode

    def forward(self, images: Tensor) -> Tensor:
        if not self.training:
            return images
        count, _, height, width = images.shape
        # uniform in [-1, 1): angle, size, shift along x and y
        draws = torch.rand(4, count, 1, 1, device=images.device) * 2 - 1
        angle, size = draws[0] * math.radians(self.degrees), 1 + draws[1] * self.scale
        cos, sin = angle.cos() / size, angle.sin() / size
        right, down = draws[2:] * (2 * self.translate)  # the sampling grid is two units wide
        x, y = centres(width, images.device), centres(height, images.device)[:, None]
        # by hand: F.affine_grid multiplies matrices of three columns, and takes longest of all
        grid = torch.stack((cos * x - sin * y + right, sin * x + cos * y + down), dim=-1)
        return F.grid_sample(images, grid, mode=self.mode, align_corners=False)

    def extra_repr(self) -> str:
        return (
            f"degrees={self.degrees}, translate={self.translate}, "
            f"scale={self.scale}, mode={self.mode}"
        )


def centres(pixels: int, device: torch.device) -> Tensor:
    """Where the centres of a row of pixels lie on the sampling grid, from -1 to 1."""
    return (2 * torch.arange(pixels, device=device) + 1) / pixels - 1


class GaussianBlur(nn.Module):
    """Blurs each image by a deviation of its own, drawn uniformly; edges are mirrored.

    Not active in evaluation mode.

    Args:
        kernel: width and height of the kernel in pixels, odd.
        sigma: least and greatest deviation in pixels, above 0.

    Shapes:
        float [N, C, H, W] -> the same.

    Raises:
        ValueError: the kernel or sigma cannot be used.
    """

    def __init__(self, kernel: Sequence[int], sigma: Sequence[float]) -> None:
        super().__init__()
        self.kernel, self.sigma = tuple(kernel), tuple(sigma)
        if len(self.kernel) != 2 or any(type(k) is not int or k < 1 or not k % 2 for k in kernel):
            raise ValueError(f"kernel must be two odd numbers, not {kernel}")
        if len(self.sigma) != 2 or not 0 < self.sigma[0] <= self.sigma[1]:
            raise ValueError(f"sigma must be two numbers above 0, the lesser first, not {sigma}")

    def forward(self, images: Tensor) -> Tensor:
        if not self.training:
            return images
        count = len(images)
        least, greatest = self.sigma
        sigma = least + torch.rand(count, 1, device=images.device) * (greatest - least)
        x = images.transpose(0, 1)  # images as groups of one convolution, each with its kernel
        for size, along in zip(self.kernel, (3, 2), strict=True):
            distance = torch.arange(size, device=images.device) - size // 2
            weights = (-0.5 * (distance / sigma) ** 2).softmax(1)
            half = size // 2
            if along == 3:
                padded, shape = F.pad(x, (half, half, 0, 0), mode="reflect"), (count, 1, 1, size)
            else:
                padded, shape = F.pad(x, (0, 0, half, half), mode="reflect"), (count, 1, size, 1)
            x = F.conv2d(padded, weights.view(shape), groups=count)
        return x.transpose(0, 1)

    def extra_repr(self) -> str:
        return f"kernel={self.kernel}, sigma={self.sigma}"


class Resize(nn.Module):
    """Scales images to a square, with antialiasing where they become smaller.

    Args:
        size: side in pixels.

    Shapes:
        float [N, C, H, W] -> [N, C, size, size].
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        if type(size) is not int or size < 1:
            raise ValueError(f"size must be a positive integer, not {size}")
        self.size = size

    def forward(self, images: Tensor) -> Tensor:
        shape = (self.size, self.size)
        return F.interpolate(images, shape, mode="bilinear", antialias=True, align_corners=False)

    def extra_repr(self) -> str:
        return f"size={self.size}"
