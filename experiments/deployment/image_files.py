"""Image files of any size and kind, as the small, grey, light-on-dark images of a network."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from experiments.cli.errors import UserError, one_line

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp")
MIDDLE = 127.5  # between dark and light


def find_image_files(path: Path) -> list[Path]:
    """The image files of a folder, sorted by name, or the one file. UserError without any."""
    if path.is_file():
        return [path]
    found = sorted(file for file in path.glob("*") if file.suffix.lower() in SUFFIXES)
    if not found:
        raise UserError(f"{path}: has no images, that is, no files named *{', *'.join(SUFFIXES)}")
    return found


def read_image_files(paths: list[Path], size: int) -> tuple[np.ndarray, list[str]]:
    """Images uint8 [N, size, size], and notes on files that were not read as they are. UserError
    names all files that cannot be read."""
    images, notes, problems = [], [], []
    for path in paths:
        try:
            image, note = _read(path, size)
            images.append(image)
            notes += [f"{path}: {note}"] if note else []
        except (OSError, SyntaxError, ValueError, Warning, Image.DecompressionBombError) as error:
            kinds = ", ".join(FORMATS)
            problems.append(f"{path}: cannot be read as {kinds}: {one_line(error)}")
    if problems:
        raise UserError("; ".join(problems))
    return np.stack(images), notes


def _read(path: Path, size: int) -> tuple[np.ndarray, str]:
    """uint8 [size, size], and a note on its depth or transparency."""
    if not path.is_file():
        raise OSError("is not a file")
    with warnings.catch_warnings():
        # a small file can unfold to gigabytes
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path, formats=FORMATS) as file:
            if getattr(file, "n_frames", 1) > 1:
                raise ValueError(f"is animated, with {file.n_frames} frames; save one of them")
            image = ImageOps.exif_transpose(file)
    note = ""
    if image.mode.startswith("I"):  # convert("L") would cut off all above 255
        grey = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
        note = "has 16 bits, of which 8 are read"
    elif image.has_transparency_data:
        light, alpha = image.convert("LA").split()
        mean = np.average(light, weights=alpha) if alpha.getbbox() else 0
        name, background = ("black", 0) if mean > MIDDLE else ("white", 255)
        grey = Image.composite(light, Image.new("L", image.size, background), alpha)
        note = f"is transparent; read on {name}"
    else:
        grey = image.convert("L")
    pixels = np.asarray(grey)
    edge = np.concatenate((pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))
    if np.median(edge) > MIDDLE:  # dark on light
        grey = ImageOps.invert(grey)
    return np.asarray(ImageOps.pad(grey, (size, size), Image.Resampling.LANCZOS, color=0)), note
