"""The digest of the images that a configuration reads, kept beside the files.

Whether a run is finished can then be said without reading the images again.
"""

import hashlib
import json
from contextlib import suppress
from pathlib import Path

from omegaconf import DictConfig

from experiments.cli.config import RESULT
from experiments.cli.errors import UserError
from experiments.cli.files import write
from experiments.cli.keys import select

KEPT = ".digests.json"
# what is done with images that have been read
AFTERWARDS = ("data.batch_size", "data.mean", "data.std", "data.shuffle")


def known_digest(cfg: DictConfig) -> str | None:
    """The digest of the images, if their files are still those that it was computed from."""
    return read(folder(cfg)).get(state(cfg))


def keep_digest(cfg: DictConfig, digest: str) -> None:
    """Keep a digest for `known_digest`; a folder that cannot be written keeps none."""
    with suppress(UserError):
        kept = read(folder(cfg)) | {state(cfg): digest}
        write(folder(cfg) / KEPT, json.dumps(kept, indent=1))


def read(path: Path) -> dict[str, str]:
    """All digests that are kept in a folder; none if the file is missing or damaged."""
    try:
        kept = json.loads((path / KEPT).read_text())
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}


def folder(cfg: DictConfig) -> Path:
    """Where the files are: all of the data's root, or the part that its source names."""
    source = cfg.data.source
    return Path(cfg.data.root, source.folder if source else "")


def state(cfg: DictConfig) -> str:
    """A hash of the files, by name, size and time of change, and of the keys of `data` that
    decide which images are read from them, and how."""
    found = {
        key: value
        for key, value in select(cfg, RESULT).items()
        if key.startswith("data.") and key not in AFTERWARDS
    }
    for path in folder(cfg).rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            facts = path.stat()
            found[str(path.relative_to(folder(cfg)))] = [facts.st_size, facts.st_mtime_ns]
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:12]
