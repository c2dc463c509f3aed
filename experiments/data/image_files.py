"""Anyone's image files, as images that a network was trained on: small, grey, light on dark."""

import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from experiments.cli.errors import UserError

FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP")

SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp")

PIXELS = 50_000_000  # larger ones are refused: a small file can unfold to gigabytes
MIDDLE = 127.5  # between dark and light


def find(path: Path) -> list[Path]:
    """The image files of a folder, in the order of their names; or the one file.

    Raises:
        UserError: there is none.
    """
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
    if not found:
        raise UserError(f"{path}: has no images, that is, no files named *{', *'.join(SUFFIXES)}")
    return found


def read(paths: list[Path], size: int) -> tuple[Tensor, list[str]]:
    """Images uint8 [N, size, size], with a note for each that was not read as it is.

    Raises:
        UserError: a file cannot be read; where there are several, all are named.
    """
    images, notes, problems = [], [], []
    for path in paths:
        try:
            image, note = _read(path, size)
        except UserError as error:
            problems.append(f"{path}: {error}")
            continue
        images.append(torch.from_numpy(image))
        notes += [f"{path}: {note}"] if note else []
    if problems:
        raise UserError("; ".join(problems))
    return torch.stack(images), notes


def _read(path: Path, size: int) -> tuple[np.ndarray, str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if not path.stat().st_size:
                raise UserError("is empty")
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height > PIXELS:
                    raise UserError(_too_large(f"{image.width:,} x {image.height:,} pixels"))
                if getattr(image, "n_frames", 1) > 1:
                    raise UserError(f"is animated, with {image.n_frames} frames; save one of them")
                image.load()
                return _prepared(ImageOps.exif_transpose(image), size)
    except Image.UnidentifiedImageError as error:
        raise UserError(f"is not an image ({', '.join(FORMATS)})") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise UserError(_too_large("too many pixels")) from error
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror or error}") from error
    except (SyntaxError, ValueError) as error:  # what Pillow says of a broken file
        raise UserError(f"is damaged: {error}") from error


def _too_large(what: str) -> str:
    return f"has {what}, at most {PIXELS:,} are read; make it smaller"


def _prepared(image: Image.Image, size: int) -> tuple[np.ndarray, str]:
    """uint8 [size, size], and what was done about depth and transparency."""
    note = ""
    if image.mode.startswith("I"):  # converting it would cut off all above 255
        grey, note = np.asarray(image).astype(np.int64) >> 8, "is of 16 bits; read as of 8"
    elif image.has_transparency_data:
        light, alpha = (np.asarray(band, float) for band in image.convert("LA").split())
        mean = (light * alpha).sum() / max(alpha.sum(), 1)
        background, name = (0, "black") if mean > MIDDLE else (255, "white")
        grey = light * (alpha / 255) + background * (1 - alpha / 255)
        note = f"is transparent; read on {name}"
    else:
        grey = np.asarray(image.convert("L"))
    grey = grey.clip(0, 255).round().astype(np.uint8)
    edge = np.concatenate((grey[0], grey[-1], grey[:, 0], grey[:, -1]))
    if np.median(edge) > MIDDLE:
        grey = 255 - grey  # dark on light
    if grey.shape != (size, size):
        square = ImageOps.pad(Image.fromarray(grey), (max(grey.shape),) * 2, color=0)
        grey = np.asarray(square.resize((size, size), Image.Resampling.LANCZOS))
    return grey.copy(), note
