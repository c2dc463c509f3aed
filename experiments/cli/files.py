"""Writing the files of commands: completely or not at all, and over nothing that is not theirs."""

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from experiments.cli.errors import UserError


def check_outputs(*outputs: str | None, inputs: Iterable[str | None] = ()) -> None:
    """Check the names of files to write before anything that takes time; None is not written.

    Raises:
        UserError: one is a folder, a database, an input of the command, or given twice.
    """
    paths = [Path(output) for output in outputs if output]
    for path in paths:
        refuse(path)
        for read in inputs:
            if read and os.path.exists(path) and os.path.exists(read) and path.samefile(read):
                raise UserError(f"{path}: is an input of this command; name another file")
    files = [os.path.realpath(path) for path in paths if not is_device(path)]
    if len(set(files)) < len(files):
        raise UserError(f"{', '.join(map(str, paths))}: two outputs must not be the same file")


def refuse(path: Path) -> None:
    """Raise UserError where a file must not be written."""
    if os.path.isdir(path):
        raise UserError(f"{path}: is a folder; name a file")
    with suppress(OSError):
        if os.path.isfile(path):
            with path.open("rb") as file:
                if file.read(16) == b"SQLite format 3\0":
                    raise UserError(f"{path}: is a database, not to be overwritten; name another")


def is_device(path: Path) -> bool:
    """Whether a path is a device or a pipe, such as /dev/stdout even where that is a file."""
    parent = os.path.realpath(path.parent)
    return (
        parent == "/dev"
        or parent.startswith("/proc/")
        or (os.path.exists(path) and not os.path.isfile(path))
    )


def write(path: Path, content: str | bytes, sync: bool = False) -> None:
    """Write a file: a device directly, any other completely or not at all.

    Args:
        sync: whether it must be on the disk, should the machine lose its power.

    Raises:
        UserError: it cannot be written, or is a folder or a database.
    """
    refuse(path)
    content = content.encode() if isinstance(content, str) else content
    try:
        if is_device(path):
            sys.stdout.flush()
            with path.open("ab") as file:  # it may be a file that standard output also goes to
                file.write(content)
            with suppress(OSError):  # what is printed next follows it
                os.lseek(sys.stdout.fileno(), 0, os.SEEK_END)
            return
        path = Path(os.path.realpath(path))  # a link stays one
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(content)
                if sync:
                    file.flush()
                    os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):  # a path that is not possible fails here again
                temporary.unlink()
            raise
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
