"""The kernels of kernels.cpp: built for this machine when first needed, and how to call them."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import stat
import subprocess
import tempfile
from pathlib import Path

from torch import Tensor

SOURCE = Path(__file__).with_suffix(".cpp")
FLAGS = ("-O3", "-march=native", "-fopenmp", "-shared", "-fPIC")
LANES = 16  # images that are worked on at once
WIDEST = 8  # channels that are computed at once


class NoKernels(RuntimeError):
    """The kernels cannot be built or loaded on this machine."""


@functools.cache
def library() -> ctypes.CDLL:
    """The kernels, built for this very processor when they are first asked for.

    Raises:
        NoKernels: there is no C++ compiler, it fails, or the user's cache cannot be used.
    """
    compiler = os.environ.get("CXX", "g++")
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    flags = next((line for line in lines if line.startswith("flags")), "")
    built_from = (SOURCE.read_text(), *FLAGS, compiler, platform.machine(), flags)
    digest = hashlib.sha256("\n".join(built_from).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "parsimony")
    path = cache / f"kernels-{digest}.so"
    try:
        if not path.exists():
            cache.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=cache) as temporary:
                built = Path(temporary, path.name)
                command = [compiler, *FLAGS, str(SOURCE), "-o", str(built)]
                subprocess.run(command, check=True, capture_output=True, text=True)
                built.replace(path)  # whole or not at all, whoever else is at it
        for place in (cache, path):
            owner, mode = place.stat().st_uid, place.stat().st_mode
            if owner not in (0, os.getuid()) or mode & stat.S_IWOTH:
                raise NoKernels(f"{place}: others can write to it; name a folder in XDG_CACHE_HOME")
        return ctypes.CDLL(str(path))
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip() or str(error)).splitlines()[0]
        raise NoKernels(f"{compiler} failed: {reason}") from error
    except OSError as error:  # no compiler, or a cache that cannot be written to, or run from
        raise NoKernels(str(error)) from error


def pointer(x: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if x is None else x.data_ptr())


def fields(kind: type, names: str) -> list[tuple[str, type]]:
    return [(name, kind) for name in names.split()]


class Plane(ctypes.Structure):
    _fields_ = (("at", ctypes.c_void_p), ("strides", ctypes.c_ssize_t * 3))

    @classmethod
    def of(cls, x: Tensor) -> Plane:
        """Where a tensor [blocks, channels, height, width, 16] lies."""
        return cls(x.data_ptr(), x.stride()[:3])


class Arguments(ctypes.Structure):
    """Step of kernels.cpp, in the same order."""

    _fields_ = (
        *fields(ctypes.c_int, "blocks channels relu norm pool border norm_first side depthwise"),
        *fields(ctypes.c_float, "eps momentum"),
        *fields(ctypes.c_int * 5, "ahead back"),
        *fields(Plane, "input activation output gradient input_gradient"),
        *fields(ctypes.c_void_p, "weight bias gain offset running_mean running_var"),
        *fields(ctypes.c_void_p, "drop factor shift mean deviation space"),
    )
