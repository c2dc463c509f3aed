"""Run a command that is killed a while after its last epoch, as by a machine that goes down.

python -m tests.killed EXPERIMENT FOLDER SECONDS ARGUMENTS...
"""

import os
import runpy
import signal
import sys
import threading
import time
from pathlib import Path


def kill(folder: Path, seconds: float) -> None:
    """Kill this process so many seconds after a log in `folder` has the last epoch."""
    while not any("epoch 1 of 1" in log.read_text() for log in folder.glob("*/train.log")):
        time.sleep(0.002)
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    _, command, folder, seconds, *arguments = sys.argv
    threading.Thread(target=kill, args=(Path(folder), float(seconds)), daemon=True).start()
    sys.argv = [command, *arguments]
    runpy.run_module(f"experiments.{command}", run_name="__main__", alter_sys=True)
