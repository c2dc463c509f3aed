import pytest
import torch
from torchvision.transforms.functional import (
    InterpolationMode,
    affine,
    gaussian_blur,
    rotate,
)

from models.augmentation import GaussianBlur, RandomAffine


def draws(monkeypatch, *values: float) -> None:
    """Let the four uniform draws (angle, size, x, y) be these values from -1 to 1."""
    column = torch.tensor(values).view(4, 1, 1, 1)
    monkeypatch.setattr(torch, "rand", lambda *size, **_: ((column + 1) / 2).expand(size))


@pytest.mark.parametrize("part", [-1.0, -0.4, 0.7])
def test_rotation_equals_torchvisions(monkeypatch, part):
    images = torch.rand(2, 1, 28, 28)
    draws(monkeypatch, part, 0, 0, 0)
    ours = RandomAffine(degrees=7)(images)
    theirs = rotate(images, 7 * part, InterpolationMode.NEAREST)
    # pixels on the edge between two may fall to either
    assert (ours == theirs).float().mean() > 0.99


def test_scale_equals_torchvisions(monkeypatch):
    images = torch.rand(2, 1, 28, 28)
    draws(monkeypatch, 0, 0.5, 0, 0)
    ours = RandomAffine(scale=0.2, mode="bilinear")(images)
    theirs = affine(images, 0, [0, 0], 1.1, [0, 0], InterpolationMode.BILINEAR)
    assert torch.allclose(ours, theirs, atol=1e-4)


def test_translation_is_a_fraction_of_the_side(monkeypatch):
    images = torch.rand(1, 1, 28, 28)
    draws(monkeypatch, 0, 0, 1, 0)
    shifted = RandomAffine(translate=2 / 28)(images)
    assert torch.equal(shifted[..., :-2], images[..., 2:])
    assert not shifted[..., -2:].any()


def test_each_image_gets_an_angle_of_its_own_within_the_limit():
    image = torch.zeros(1, 1, 29, 29)
    image[..., 14, 24] = 1  # ten pixels right of the centre
    batch = RandomAffine(degrees=30, mode="bilinear")(image.repeat(500, 1, 1, 1))
    rows = (batch.sum(3)[:, 0] * torch.arange(29)).sum(1) / batch.sum((1, 2, 3)) - 14
    angles = torch.rad2deg(torch.asin((rows / 10).clamp(-1, 1)))
    assert len(angles.unique()) > 400
    assert angles.abs().max() < 32
    assert angles.min() < -25
    assert angles.max() > 25
    assert angles.mean().abs() < 3


def test_corners_are_black_and_evaluation_changes_nothing():
    images = torch.ones(50, 1, 28, 28)
    augmentation = RandomAffine(degrees=45)
    assert augmentation(images)[..., 0, 0].min() == 0
    assert augmentation.eval()(images) is images


@pytest.mark.parametrize(
    "options", [{"degrees": -1}, {"degrees": 200}, {"translate": 2}, {"scale": 1}, {"mode": "best"}]
)
def test_amounts_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        RandomAffine(**options)


def test_contrast_and_then_brightness_change_within_their_limits():
    images = torch.full((5000, 1, 4, 4), 100.0)
    changed = RandomAffine(contrast=0.2, brightness=0.1)(images)
    assert torch.equal(changed, changed[..., :1, :1].expand_as(changed))  # an image as a whole
    assert 100 * 0.8 - 25.5 <= changed.min() < 60
    assert 140 < changed.max() <= 100 * 1.2 + 25.5
    assert RandomAffine(contrast=1.0, brightness=1.0)(images * 2.55).aminmax() == (0, 255)


@pytest.mark.parametrize("amounts", [{"degrees": 9, "mode": "bilinear"}, {"contrast": 0.5}])
def test_so_many_images_are_changed(amounts):
    images = torch.rand(4000, 1, 5, 5) * 255
    changed = RandomAffine(probability=0.3, **amounts)(images) != images
    assert changed.any(-1).any(-1).float().mean() == pytest.approx(0.3, abs=0.03)
    assert not (RandomAffine(probability=0.0, **amounts)(images) != images).any()


def test_blur_is_that_of_torchvision_with_a_deviation_for_each_image():
    torch.manual_seed(0)
    images = torch.rand(3, 2, 20, 20) * 255
    blur = GaussianBlur([5, 9], [0.3, 5.0])
    blurred = blur(images)
    torch.manual_seed(0)
    torch.rand(3, 2, 20, 20)
    sigmas = 0.3 + torch.rand(3, 1) * (5.0 - 0.3)
    for image, sigma, ours in zip(images, sigmas, blurred, strict=True):
        theirs = gaussian_blur(image, [5, 9], [sigma.item()] * 2)
        assert torch.allclose(ours, theirs, atol=1e-3)
    blur.eval()
    assert torch.equal(blur(images), images)


@pytest.mark.parametrize(
    ("kernel", "sigma", "complaint"),
    [
        ([4, 9], [1, 2], r"kernel\.0\n.*an odd number"),
        ([5], [1, 2], r"kernel\n.*at least 2 items"),
        ([5, 9], [0, 1], r"sigma\.0\n.*greater than 0"),
    ],
)
def test_an_invalid_blur_is_refused(kernel, sigma, complaint):
    with pytest.raises(ValueError, match=complaint):
        GaussianBlur(kernel=kernel, sigma=sigma)
