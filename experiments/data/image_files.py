"""Image files of any size and kind, as the small, grey, light-on-dark images of a network."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from experiments.cli.errors import UserError

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")
SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp")

PIXELS = 50_000_000  # larger images are refused: a small file can unfold to gigabytes
MIDDLE = 127.5  # between dark and light


def find(path: Path) -> list[Path]:
    """The image files of a folder, sorted by name; or the one file.

    Raises:
        UserError: the folder has no images.
    """
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
    if not found:
        raise UserError(f"{path}: has no images, that is, no files named *{', *'.join(SUFFIXES)}")
    return found


def read(paths: list[Path], size: int) -> tuple[np.ndarray, list[str]]:
    """Images uint8 [N, size, size], and notes on files that were not read as they are.

    Raises:
        UserError: files cannot be read; all of them are named.
    """
    images, notes, problems = [], [], []
    for path in paths:
        try:
            image, note = _read(path, size)
        except UserError as error:
            problems.append(f"{path}: {error}")
            continue
        images.append(image)
        notes += [f"{path}: {note}"] if note else []
    if problems:
        raise UserError("; ".join(problems))
    return np.stack(images), notes


def _read(path: Path, size: int) -> tuple[np.ndarray, str]:
    if path.exists() and not path.is_file():
        raise UserError("is not a file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our limit is lower
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height > PIXELS:
                    raise UserError(
                        f"has {image.width:,} x {image.height:,} pixels, at most {PIXELS:,} are "
                        "read; make it smaller"
                    )
                if getattr(image, "n_frames", 1) > 1:
                    raise UserError(f"is animated, with {image.n_frames} frames; save one of them")
                image.load()
                return _prepare(ImageOps.exif_transpose(image), size)
    except Image.UnidentifiedImageError as error:
        raise UserError(f"is not an image ({', '.join(FORMATS)})") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot be read: {reason}") from error


def _prepare(image: Image.Image, size: int) -> tuple[np.ndarray, str]:
    """uint8 [size, size], and a note on its depth or transparency."""
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
