"""Writing the files of commands: completely or not at all, and never over a file of others."""

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from experiments.cli.errors import UserError

BESIDE_DATABASES = ("-wal", "-shm", "-journal", ".lock")  # of SQLite, and our own


def check_outputs(*outputs: str | None, inputs: Iterable[str | None] = ()) -> None:
    """Raise UserError where a file to write is a folder, a database, an input of the command, or
    given twice; None is not written."""
    paths = [Path(output) for output in outputs if output]
    for path in paths:
        refuse(path)
        for read in (Path(name) for name in inputs if name):
            if path.exists() and read.exists() and path.samefile(read):
                raise UserError(f"{path}: is an input of this command; name another file")
    files = [os.path.realpath(path) for path in paths if not is_device(path)]
    if len(set(files)) < len(files):
        raise UserError(f"{', '.join(map(str, paths))}: two outputs must not be the same file")


def refuse(path: Path) -> None:
    """Raise UserError where a file must not be written."""
    if os.path.isdir(path):
        raise UserError(f"{path}: is a folder; name a file")
    if path.name.endswith(BESIDE_DATABASES) and path.exists():
        raise UserError(f"{path}: belongs to a database and is not overwritten; name another")
    with suppress(OSError):
        if os.path.isfile(path):
            with path.open("rb") as file:
                if file.read(16) == b"SQLite format 3\0":
                    raise UserError(f"{path}: is a database and is not overwritten; name another")


def is_device(path: Path) -> bool:
    """Whether a path is a device or a pipe, such as /dev/stdout even where that is a file."""
    folder = os.path.realpath(path.parent)
    special = os.path.exists(path) and not os.path.isfile(path)
    return special or folder == "/dev" or folder.startswith("/proc/")


def write(path: Path, content: str | bytes) -> None:
    """Write a file: a device directly, any other completely or not at all, if the power fails too.
    Raises UserError where it cannot be written, or is a folder or a database."""
    refuse(path)
    content = content.encode() if isinstance(content, str) else content
    try:
        if is_device(path):
            sys.stdout.flush()
            with path.open("ab") as file:  # it may be a file that standard output also goes to
                file.write(content)
            with suppress(OSError):  # what is printed next follows it
                os.lseek(sys.stdout.fileno(), 0, os.SEEK_END)
        else:
            replace(Path(os.path.realpath(path)), content)  # a link stays one
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error


def replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):  # where it cannot be written, there may be none
            temporary.unlink()
        raise
