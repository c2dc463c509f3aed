"""What a result came from, besides its configuration: code, machine and versions."""

import platform
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

import torch

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "torchmetrics", "hydra-core", "mlflow")


def provenance(device: torch.device) -> dict[str, str]:
    """Tags for a run: git commit, device, threads, and versions of Python and packages."""
    tags = {
        "device": device.type,
        "device.name": _device_name(device),
        "device.threads": str(torch.get_num_threads()),
        "version.python": platform.python_version(),
        **{f"version.{package}": version(package) for package in PACKAGES},
    }
    if commit := _git("rev-parse", "HEAD"):
        tags["mlflow.source.git.commit"] = commit
        tags["git.modified"] = str(bool(_git("status", "--porcelain", "--untracked-files=no")))
    return tags


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    processors = Path("/proc/cpuinfo")  # Python's `platform` does not know the model on Linux
    text = processors.read_text(encoding="utf-8") if processors.exists() else ""
    model = re.search(r"^model name\s*:\s*(.+)", text, re.MULTILINE)
    return model[1] if model else platform.processor() or platform.machine()


def _git(*arguments: str) -> str:
    """The output of git in the folder of this code; empty where it is not a repository."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
