"""Programs in processes of their own that need not import torch and MLflow again, for seconds each.

As a program: imports what ours import, then for each request, a line of JSON on standard
input, forks a process that does what `python -m MODULE ARGUMENTS` does in a folder and an
environment. As a module: `run`, which is subprocess.run for such a process.
"""

import gc
import json
import logging
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

TIMEOUT = 900  # seconds; the benchmark of a sweep takes minutes
ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # as tests run side by side; read when torch is imported


@cache
def server() -> subprocess.Popen:
    """The process that has made the imports; it ends with this one."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, __file__], env=os.environ | ONE_THREAD, **pipes)


def run(
    module: str, arguments: list[str], cwd: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess:
    """Run a module to its end.

    Raises:
        subprocess.TimeoutExpired: it took longer than TIMEOUT, and was killed.
    """
    with tempfile.TemporaryDirectory() as folder:
        outputs = [f"{folder}/stdout", f"{folder}/stderr"]
        request = [module, arguments, str(cwd), environment, outputs]
        print(json.dumps(request), file=server().stdin, flush=True)
        status = int(server().stdout.readline())
        texts = [Path(output).read_text(encoding="utf-8") for output in outputs]
    if status == -signal.SIGALRM:
        raise subprocess.TimeoutExpired([module, *arguments], TIMEOUT, *texts)
    return subprocess.CompletedProcess([module, *arguments], status, *texts)


def serve() -> None:
    """Fork a process for each request, wait for it, answer with its exit status."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            return become(*json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
    return None


def become(
    module: str, arguments: list[str], cwd: str, environment: dict[str, str], outputs: list[str]
) -> None:
    """Turn this process into `python -m module`."""
    for descriptor, path in zip((1, 2), outputs, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0], sys.argv = cwd, [module, *arguments]
    logging.getLogger().handlers.clear()  # an import has left one there
    signal.alarm(TIMEOUT)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    import hydra  # noqa: F401
    import matplotlib.figure  # noqa: F401
    import mlflow.pytorch  # noqa: F401
    import pytorch_lightning  # noqa: F401
    import scipy.stats  # noqa: F401
    import torchinfo  # noqa: F401
    import torchmetrics  # noqa: F401
    import torchvision  # noqa: F401

    gc.freeze()  # so that children do not touch, and thereby copy, what was imported
    serve()
