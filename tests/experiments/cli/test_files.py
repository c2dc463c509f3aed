"""Output files: whole or not at all, and over nothing that is not theirs."""

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT

from experiments.cli.errors import UserError
from experiments.cli.files import check_outputs, write


def test_a_device_stays_one():
    with pytest.raises(UserError, match="/dev/full: cannot be written: No space left on device"):
        write(Path("/dev/full"), "text")
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_standard_output_is_kept_where_it_is_a_file(tmp_path):
    code = """if True:
        from pathlib import Path
        from experiments.cli.files import write
        print("before")
        write(Path("/dev/stdout"), "file\\n")
        print("after")"""
    for mode in "wa":
        (tmp_path / "out").unlink(missing_ok=True)
        with (tmp_path / "out").open(mode) as out:
            subprocess.run([sys.executable, "-c", code], stdout=out, cwd=PROJECT, check=True)
        assert (tmp_path / "out").read_text() == "before\nfile\nafter\n"


def test_a_link_stays_one_and_nothing_is_left_aside(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "text"
    assert len(list(tmp_path.iterdir())) == 2


def test_what_is_not_an_output_is_not_written_over(tmp_path):
    database, read = tmp_path / "mlflow.db", tmp_path / "read.csv"
    with sqlite3.connect(database) as connection:
        connection.execute("create table t (x)")
    connection.close()
    read.write_text("x")
    for output, complaint in (
        (tmp_path, "is a folder"),
        (database, "is a database"),
        (read, "is an input of this command"),
    ):
        with pytest.raises(UserError, match=complaint):
            check_outputs(str(output), inputs=[str(read)])
    with pytest.raises(UserError, match="must not be the same file"):
        check_outputs(str(tmp_path / "a"), None, f"{tmp_path}/./a")
    with pytest.raises(UserError, match="is a database"):
        write(database, "text")
    for name in ("store.db-wal", "store.lock"):
        (tmp_path / name).touch()
        with pytest.raises(UserError, match="belongs to a database"):
            check_outputs(str(tmp_path / name))
    check_outputs("/dev/stdout", "/dev/stdout", str(tmp_path / "new"))


@pytest.mark.parametrize(("program", "status"), [("predict", 1), ("compare", 1), ("gate", 2)])
def test_a_sweep_of_what_cannot_be_swept_is_refused(run_here, program, status):
    for typed in ("--multi", "hydra.mode=MULTIRUN", "++hydra.mode='multirun'"):
        code, _, errors = run_here(program, typed)
        assert (code, errors.count("\n")) == (status, 1)
        assert "is for experiments.train" in errors


def test_nor_is_one_that_a_file_begins(run_here, tmp_path):
    """Hydra would start the command as a job, whose errors nobody sees."""
    (tmp_path / "step").mkdir()
    step = "# @package _global_\ndefaults: [s13, _self_]\nhydra: {mode: MULTIRUN}\n"
    (tmp_path / "step" / "several.yaml").write_text(step)
    given = ("step=several", f"hydra.searchpath=[file://{tmp_path}]", f"hydra.sweep.dir={tmp_path}")
    code, output, errors = run_here("gate", "stage=budget", *given)
    assert (code, output) == (2, "")
    assert "is for experiments.train" in errors
