"""IDX, the file format of MNIST: a header of dimensions, then bytes."""

import gzip
import math
import struct
from pathlib import Path

import torch
from torch import Tensor

from experiments.cli.errors import UserError

UBYTE = 0x08
SPLITS = {True: "train", False: "t10k"}


def read(path: Path) -> Tensor:
    """The unsigned bytes of an IDX file, plain or gzipped, in the shape of its header.

    Raises:
        UserError: the file is missing, truncated, too long, or not an IDX file.
    """
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error
    zeros, kind, rank = struct.unpack(">HBB", content[:4].ljust(4, b"\xff"))
    header = 4 + 4 * rank
    if zeros or kind != UBYTE or not rank or len(content) < header:
        raise UserError(f"{path}: not an IDX file of unsigned bytes")
    shape = struct.unpack(f">{rank}I", content[4:header])
    expected = header + math.prod(shape)
    if len(content) != expected:
        raise UserError(
            f"{path}: damaged: its header promises {expected:,} bytes, it has {len(content):,}"
        )
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)[header:].view(shape)


class IDXFolder:
    """Four IDX files, plain or gzipped, under MNIST's names in one folder.

    Has `data` [N, H, W] and `targets` [N] like torchvision's data sets.
    """

    def __init__(self, root: str, train: bool) -> None:
        self.data, self.targets = (
            read(_find(Path(root), f"{SPLITS[train]}-{part}")) for part in ("images", "labels")
        )


def _find(folder: Path, stem: str) -> Path:
    found = sorted(folder.glob(f"{stem}*"))
    if not found:
        raise UserError(f"{folder}: has no file {stem}-idx*-ubyte or {stem}-idx*-ubyte.gz")
    return found[0]
