"""Writing a file completely or not at all."""

from contextlib import suppress
from pathlib import Path

from experiments.cli.errors import UserError


def write(path: Path, text: str) -> None:
    """Write a file completely or not at all. Raises UserError where it cannot be written."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):  # a path that is not possible fails here again
            temporary.unlink()
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from error
