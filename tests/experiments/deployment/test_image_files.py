"""Image files of all kinds: how they are read, and which are refused."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from conftest import MNIST
from PIL import Image, ImageOps

from experiments.cli.errors import UserError
from experiments.data.idx import IDXFolder
from experiments.deployment.image_files import find_image_files, read_image_files


@pytest.fixture(scope="module")
def digit() -> np.ndarray:
    return IDXFolder(str(MNIST), train=False).data[0].numpy()


def as_file(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    image.save(file := io.BytesIO(), kind, **options)
    return file.getvalue()


def test_an_image_of_the_right_size_is_read_as_it_is(tmp_path, digit):
    for name in ("digit.png", "digit.bmp"):
        Image.fromarray(digit).save(tmp_path / name)
    images, notes = read_image_files(find_image_files(tmp_path), 28)
    assert all(np.array_equal(image, digit) for image in images)
    assert not notes


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (ImageOps.invert, None),
        (lambda image: image.convert("RGB"), None),
        (lambda image: image.convert("CMYK").convert("RGB"), None),
        (lambda image: image.quantize(256), None),
        (lambda image: Image.fromarray(np.asarray(image).astype(np.uint16) * 257), "has 16 bits"),
        (
            lambda image: Image.merge("LA", (Image.new("L", image.size, 255), image)),
            "is transparent; read on black",
        ),
        (
            lambda image: Image.merge("RGBA", (*[Image.new("L", image.size, 0)] * 3, image)),
            "is transparent; read on white",
        ),
    ],
    ids=[
        "inverted",
        "colour",
        "CMYK",
        "palette",
        "16 bits",
        "white on nothing",
        "black on nothing",
    ],
)
def test_depth_colour_and_transparency_come_to_the_same(tmp_path, digit, change, note):
    path = tmp_path / "digit.png"
    path.write_bytes(as_file(change(Image.fromarray(digit))))
    images, notes = read_image_files([path], 28)
    assert np.abs(images[0].astype(int) - digit).max() <= 1
    assert [n.startswith(f"{path}: ") and note in n for n in notes] == ([True] if note else [])


def test_large_jpegs_are_scaled_and_not_stretched(tmp_path, digit):
    image = ImageOps.invert(Image.fromarray(digit)).resize((280, 280))
    image.convert("RGB").save(tmp_path / "a.jpg", quality=95)
    ImageOps.expand(image, border=(0, 70), fill=255).save(tmp_path / "b.jpeg", quality=95)
    images, notes = read_image_files(find_image_files(tmp_path), 28)
    assert not notes
    assert np.abs(images[0].astype(int) - digit).mean() < 5
    [across] = (images[1] > 60).any(0).nonzero()
    [whole] = (digit > 60).any(0).nonzero()
    ratio = (across[-1] - across[0]) / (whole[-1] - whole[0])
    assert ratio == pytest.approx(280 / 420, abs=0.15)


def test_a_photo_is_turned_as_its_camera_says(tmp_path, digit):
    image = Image.fromarray(digit)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side
    path = tmp_path / "digit.png"
    image.save(path, exif=exif)
    assert np.array_equal(read_image_files([path], 28)[0][0], np.rot90(digit, -1))


def test_a_long_thin_image_needs_little_memory(tmp_path):
    path = tmp_path / "line.png"
    path.write_bytes(as_file(Image.new("L", (200_000, 1), 255)))
    assert read_image_files([path], 28)[0].shape == (1, 28, 28)


def animated() -> bytes:
    frames = [Image.new("L", (28, 28), shade) for shade in (0, 90)]
    return as_file(frames[0], "GIF", save_all=True, append_images=frames[1:])


def claiming(width: int, height: int) -> bytes:
    """A small PNG file whose header claims to be of this size."""
    content = as_file(Image.new("1", (28, 28)))
    header = b"IHDR" + struct.pack(">2I", width, height) + content[24:29]
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


def noise() -> Image.Image:
    return Image.effect_noise((99, 99), 50)


def broken(position: int) -> bytes:
    content = bytearray(as_file(noise()))
    content[position] ^= 0xFF
    return bytes(content)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.png", lambda: b"", "cannot identify image file"),
        ("a.png", lambda: b"%PDF-1.4", "cannot identify image file"),
        ("a.jpg", lambda: as_file(noise(), "JPEG")[:400], "cannot be read as PNG, JPEG"),
        ("a.png", lambda: as_file(noise())[:-800], "cannot be read"),
        ("a.png", lambda: broken(60), "cannot be read"),
        ("a.gif", animated, "is animated, with 2 frames; save one of them"),
        ("a.png", lambda: claiming(10_000, 9_000), "Image size (90000000 pixels) exceeds limit"),
        ("a.png", lambda: claiming(20_000, 20_000), "Image size (400000000 pixels) exceeds limit"),
        ("a.tiff", lambda: as_file(Image.new("L", (28, 28)), "TIFF"), "cannot identify image"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_image_is_refused(tmp_path, name, content, complaint):
    path = tmp_path / name
    path.write_bytes(content())
    with pytest.raises(UserError) as error:
        read_image_files([path], 28)
    assert complaint in str(error.value)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)


def test_all_bad_images_of_a_folder_are_named(tmp_path, digit):
    Image.fromarray(digit).save(tmp_path / "good.png")
    for name in ("bad.png", "worse.jpg"):
        (tmp_path / name).write_text("no image")
    (tmp_path / "notes.txt").write_text("not looked at")
    with pytest.raises(UserError, match=r"bad.png: cannot be read.*; .*worse.jpg: cannot"):
        read_image_files(find_image_files(tmp_path), 28)


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(UserError, match=r"a.png: .*: is not a file"):
        read_image_files(find_image_files(tmp_path), 28)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"has no images, that is, no files named \*.png, "):
        find_image_files(tmp_path)
