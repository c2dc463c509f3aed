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
AFTER_READING = ("data.batch_size", "data.mean", "data.std", "data.shuffle")


def known_digest(cfg: DictConfig) -> str | None:
    """The digest of the images, if their files are still those that it was computed from."""
    return _all_kept(cfg).get(fingerprint(cfg))


def keep_digest(cfg: DictConfig, digest: str) -> None:
    """Keep a digest for `known_digest`; a folder that cannot be written keeps none."""
    kept = _all_kept(cfg) | {fingerprint(cfg): digest}
    with suppress(UserError):
        write(_folder(cfg) / KEPT, json.dumps(kept, indent=1))


def _all_kept(cfg: DictConfig) -> dict[str, str]:
    with suppress(OSError, TypeError, ValueError):  # missing, or damaged
        return dict(json.loads((_folder(cfg) / KEPT).read_text()))
    return {}


def _folder(cfg: DictConfig) -> Path:
    """Where the files are: all of the data's root, or the part that its source names."""
    source = cfg.data.source
    return Path(cfg.data.root, source.folder if source else "")


def fingerprint(cfg: DictConfig) -> str:
    """A hash of the files, by name, size and times of change, of which programs set one only, and
    of the keys of `data` that decide which images are read from them, and how."""
    folder, values = _folder(cfg), select(cfg, RESULT)
    found = {k: v for k, v in values.items() if k.startswith("data.") and k not in AFTER_READING}
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            facts = path.stat()
            found[str(path.relative_to(folder))] = [
                facts.st_size,
                facts.st_mtime_ns,
                facts.st_ctime_ns,
            ]
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:12]
