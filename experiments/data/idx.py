"""IDX, the file format of MNIST: a header of dimensions, then bytes."""

import gzip
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from experiments.cli.errors import UserError


def read_idx(path: Path) -> Tensor:
    """The unsigned bytes of an IDX file, plain or gzipped; UserError where it is damaged."""
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
        if content[:3] != b"\0\0\x08":  # 8: unsigned bytes
            raise ValueError("not an IDX file of unsigned bytes")
        rank = content[3]
        shape = np.frombuffer(content, ">u4", rank, offset=4)
        values = np.frombuffer(content, np.uint8, offset=4 + 4 * rank).reshape(shape)
    except (OSError, EOFError, IndexError, ValueError, zlib.error) as error:
        raise UserError(f"{path}: damaged, or cannot be read: {error}") from error
    return torch.from_numpy(values.copy())


class IDXFolder:
    """Four IDX files, plain or gzipped, under MNIST's names in one folder. Has `data` [N, H, W]
    and `targets` [N] like torchvision's data sets."""

    def __init__(self, root: str, train: bool) -> None:
        split = "train" if train else "t10k"
        self.data, self.targets = (
            read_idx(_find(Path(root), f"{split}-{part}")) for part in ("images", "labels")
        )


def _find(folder: Path, stem: str) -> Path:
    found = sorted(folder.glob(f"{stem}*"))
    if not found:
        raise UserError(f"{folder}: has no file {stem}-idx*-ubyte or {stem}-idx*-ubyte.gz")
    return found[0]
