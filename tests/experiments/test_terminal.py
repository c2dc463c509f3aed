"""A run on a real terminal: its bar, its screen, and Ctrl-C."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from collections.abc import Callable

import pytest
from conftest import ONE_THREAD, PROJECT, quick

pytestmark = pytest.mark.slow
COLUMNS = 80
SIZE = struct.pack("HHHH", 24, COLUMNS, 0, 0)
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # colours, and movements of the cursor


def on_terminal(command: list[str], press: Callable[[str], str]) -> tuple[int, str]:
    """Run a command on a terminal, where `press` is told all that is shown, after each piece of
    it, and gives the keys to press; its status, and all that it showed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, SIZE)
    environment = os.environ | ONE_THREAD | {"TERM": "xterm-256color"}
    del environment["COLUMNS"]
    process = subprocess.Popen(
        ["setsid", "--ctty", *command],
        cwd=PROJECT,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := read(ours):
            shown += piece
            os.write(ours, press(shown.decode(errors="replace")).encode())
        return process.wait(60), shown.decode()
    finally:
        process.kill()
        os.close(ours)


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # nobody has it open any more
        return b""


def test_the_bar_ends_on_the_figures_of_the_screen(workplace, small):
    command = workplace.command("train", *quick(small, "trainer.max_epochs=2"))
    status, shown = on_terminal(command, lambda _: "")
    assert status == 0, shown
    assert "\x1b[31mmisses 99.40 %" in shown
    plain = ESCAPE.sub("", shown)
    bar, _, screen = plain.rpartition("step 13, seed 0, data=idx")
    bars = re.findall(r"epoch (\d)/2  loss [\d.]+  acc [\d.]+%  val ([\d.]+)%", bar)
    assert bars[-1] == ("2", re.search(r"accuracy, epoch 2 \(last\) +([\d.]+) %", screen)[1])
    assert not re.search(r"epoch \d/2", screen)
    assert max(len(line) for line in screen.splitlines() if "/" not in line) <= COLUMNS


def test_ctrl_c_is_told_once_without_a_traceback(workplace, small):
    pressed = []

    def in_epoch_3(shown: str) -> str:
        if "epoch 3/14" not in shown or pressed:
            return ""
        pressed.append("\x03")
        return pressed[0]

    status, shown = on_terminal(workplace.command("train", *quick(small)), in_epoch_3)
    assert (status, len(pressed)) == (128 + signal.SIGINT, 1)
    assert shown.count("interrupted") == 1
    assert "Traceback" not in shown
    assert "interrupted; the same command goes on from " in shown
    assert [run.info.status for run in workplace.runs()] == ["KILLED"] * 2
