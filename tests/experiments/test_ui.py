"""The screen of the command that opens MLflow's UI; reports/test_page.py opens its pages."""

import signal
import subprocess
import sys
import time

import pytest
from conftest import PROJECT, closed_port, configure

from experiments.tracking.store import Store


@pytest.mark.slow
def test_the_screen_is_as_kept_up_to_ctrl_c(workplace, tmp_path, screen):
    Store(configure("ui", *workplace.places[:2]).tracking)  # with an experiment
    shown = tmp_path / "screen"
    command = [sys.executable, "-m", "experiments.ui", workplace.places[0]]
    with shown.open("w") as file:
        options = {"stdout": file, "stderr": subprocess.STDOUT, "cwd": PROJECT}
        server = subprocess.Popen([*command, f"port={closed_port()}"], **options)
    try:
        deadline = time.monotonic() + 120
        while "Ctrl-C" not in shown.read_text():
            assert server.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
        server.send_signal(signal.SIGINT)
        assert server.wait(60) == 128 + signal.SIGINT
    finally:
        server.kill()
    screen("ui", shown.read_text(), varying=r":\d+/")
