"""Claims on files and in PostgreSQL: one holder at a time, and none that is dead."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import sqlalchemy
from conftest import PROJECT

from experiments.study.storage import Claims

HOLD = """
import sys, time
from pathlib import Path
from experiments.study.storage import Claims
with Claims(sys.argv[1], Path(sys.argv[2])).take("1", wait=True) as ours:
    print(ours, flush=True)
    time.sleep(600)
"""


@pytest.fixture(params=["file", pytest.param("postgresql", marks=pytest.mark.slow)])
def places(request, tmp_path) -> tuple[str, Path, Path]:
    """A storage, and the folders of two processes: on one machine, or on two that share none."""
    if request.param == "file":
        return "study.journal", tmp_path, tmp_path
    storage = request.getfixturevalue("postgresql")
    return storage, tmp_path / "here" / "study", tmp_path / "there" / "study"


def test_a_claim_ends_with_its_process(places):
    storage, here, there = places
    claims = Claims(storage, here)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, storage, there],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "True\n"
        with claims.take("1") as ours:
            assert not ours
        with claims.take("2") as ours:
            assert ours
        other.kill()  # it releases nothing itself
    with claims.take("1", wait=True) as ours:
        assert ours
        with Claims(storage, there).take("1") as theirs:
            assert not theirs
    with Claims(storage, there).take("1") as theirs:
        assert theirs


@pytest.mark.slow
def test_a_lost_connection_is_noticed(postgresql, tmp_path):
    claims = Claims(postgresql, tmp_path)
    claims.check()
    with sqlalchemy.create_engine(postgresql).connect() as other:
        other.exec_driver_sql(
            "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()"
        )
    time.sleep(0.5)
    with pytest.raises(sqlalchemy.exc.SQLAlchemyError):
        claims.check()
