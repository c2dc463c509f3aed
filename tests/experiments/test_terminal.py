"""A run on a real terminal: its bar, its screen, and Ctrl-C."""

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ONE_THREAD, PROJECT, quick

pytestmark = pytest.mark.slow
COLUMNS = 80
FIXED = """
import sys
from experiments.cli import text
from experiments.tracking import provenance
text.duration = lambda seconds: "0 s"
provenance._device_name = lambda device: "some processor"
from experiments.train import main
main()
"""
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # colours, and movements of the cursor


def on_terminal(
    command: list[str], press: Callable[[str], str], columns: int = COLUMNS, cwd: Path = PROJECT
) -> tuple[int, str]:
    """Run a command on a terminal, where `press` is told all that is shown, after each piece of
    it, and gives the keys to press; its status, and all that it showed."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = os.environ | ONE_THREAD | {"TERM": "xterm-256color", "PYTHONPATH": str(PROJECT)}
    del environment["COLUMNS"]
    process = subprocess.Popen(
        ["setsid", "--ctty", *command],
        cwd=cwd,
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


def left_on(output: str, columns: int) -> str:
    """What stands on a terminal in the end, first line to last, after all movements of the cursor
    upwards and to the left, and without the lines that were cleared."""
    rows, row, column = [[]], 0, 0
    for found in re.finditer(r"\x1b\[([?\d;]*)([A-Za-z])|(.)", output, re.DOTALL):
        moved, command, sign = found.groups()
        if command == "A":
            row -= int(moved or 1)
        elif command == "K":
            rows[row] = []
        elif sign == "\r":
            column = 0
        elif sign:
            if sign == "\n" or column == columns:
                row, column = row + 1, 0
                rows += [[] for _ in range(row + 1 - len(rows))]
            if sign != "\n":
                rows[row] += [" "] * (column + 1 - len(rows[row]))
                rows[row][column], column = sign, column + 1
    return "\n".join("".join(line) for line in rows)


@pytest.mark.parametrize(
    ("name", "status", "arguments"),
    [
        ("train", 0, ["step=s13", "trainer.max_epochs=2"]),
        ("sweep", 1, ["-m", "step=s13,s01", "seed=0,1", "trainer.max_epochs=1"]),
    ],
)
def test_the_whole_screen_is_as_kept(tmp_path, small, screen, monkeypatch, name, status, arguments):
    """Of a run and of a sweep, in which step 1 is over the budget; times and the processor's name
    are fixed texts, and accuracies, losses and ids are kept as zeros."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)  # MLflow may have set it, in a test
    (tmp_path / "small").symlink_to(small)
    little = ("data=idx", "data.root=small", "tracking.model=false", "budget.parameters=8000")
    command, columns = (
        [sys.executable, "-c", FIXED, *arguments, *little],
        int(os.environ["COLUMNS"]),
    )
    found, output = on_terminal(command, lambda _: "", columns, tmp_path)
    assert found == status, output
    figures = r"loss [\d.]+|(acc|val|by|(last|best)\)|trained) +[\d.]+|[\d-]+_[\d.-]+"
    text = re.sub(r"\w{12}-\w{12}", f"{'0' * 12}-{'0' * 12}", left_on(output, columns))
    screen(name, text, varying=figures)


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
