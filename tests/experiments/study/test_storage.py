"""What workers share: a storage of Optuna, the settings of a study, and claims with one holder."""

import json
import resource
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from conftest import PROJECT, closed_port, composing, serving
from hydra import compose
from omegaconf import OmegaConf
from optuna.storages import BaseStorage, RDBStorage
from optuna.testing.pytest_storages import StorageTestCase

from experiments.cli.errors import UserError
from experiments.study.space import Space
from experiments.study.storage import (
    SETTINGS,
    Claims,
    begin_or_resume,
    open_storage,
    storage_errors,
)


def study(storage: str) -> optuna.Study:
    return optuna.create_study(study_name="s", storage=open_storage(storage), load_if_exists=True)


@pytest.mark.parametrize("kind", ["{}/some/where/search.journal", "sqlite:///{}/some/search.db"])
def test_a_trial_that_runs_can_wait_again(tmp_path, kind):
    """As the queue releases an abandoned trial: its number, values and reports stay."""
    path = kind.format(tmp_path)
    first = study(path).ask()
    x = first.suggest_float("x", 0, 1)
    first.report(0.5, step=1)
    storage = open_storage(path)
    study_id = storage.get_study_id_from_name("s")
    trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, first.number)
    storage.set_trial_state_values(trial_id, optuna.trial.TrialState.WAITING)
    again = study(path).ask()
    assert (again.number, again.suggest_float("x", 0, 1)) == (0, x)
    [trial] = study(path).get_trials()
    assert trial.intermediate_values == {1: 0.5}


def test_a_full_disk_of_a_journal_is_told_by_its_name(tmp_path):
    path = tmp_path / "search.journal"
    begun = study(str(path))
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.getsignal(signal.SIGXFSZ)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, limits[1]))
    try:
        with pytest.raises(OSError) as caught:
            begun.ask()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.filename == str(path)


def test_half_a_line_in_a_journal_is_reported(tmp_path):
    """As a power cut may leave it at the end; what others wrote before stays."""
    path = tmp_path / "search.journal"
    study(str(path)).ask()
    lines = path.read_bytes()
    path.write_bytes(lines + b'{"op_code":4,"wor')
    complaint = r"delete the line that starts with '{\"op_code\":4,\"wor{"
    with pytest.raises(UserError, match=complaint), storage_errors(str(path)):
        study(str(path)).set_user_attr("settings", 1)
    rest = [line for line in path.read_bytes().splitlines(True) if b'"wor{' not in line]
    path.write_bytes(b"".join(rest))
    assert len(study(str(path)).get_trials()) == 1


def test_a_failure_is_explained_in_one_line(tmp_path):
    (tmp_path / "text.db").write_text("not a database, " * 100)
    storage = f"sqlite:///{tmp_path}/text.db"
    complaint = r"storage=sqlite.*: failed: file is not a database"
    with pytest.raises(UserError, match=complaint), storage_errors(storage):
        study(storage)


@pytest.mark.parametrize("line", ["[1]", '{"a": 1}', '{"op_code": 99}', "7"])
def test_a_foreign_journal_is_refused(tmp_path, line):
    (tmp_path / "foreign.journal").write_text(f"{line}\n")
    with pytest.raises(
        UserError, match=r"was not written by this version of Optuna, or is damaged"
    ):
        open_storage(f"{tmp_path}/foreign.journal")


def test_a_database_of_another_version_is_refused(tmp_path):
    """MLflow's is one too: both keep a version that the other does not know."""
    storage = f"sqlite:///{tmp_path}/old.db"
    study(storage)
    with sqlite3.connect(tmp_path / "old.db") as database:
        database.execute("update alembic_version set version_num = 'v0'")
    database.close()
    with pytest.raises(UserError, match="was not written by this version of Optuna, or is damaged"):
        open_storage(storage)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["{}/search.journal", "sqlite:///{}/search.db"])
def test_optuna_dashboard_opens_a_study(tmp_path, kind):
    storage = kind.format(tmp_path)
    trial = study(storage).ask()
    trial.suggest_float("optimizer.lr", 0.01, 0.1)
    study(storage).tell(trial, 0.99)
    program = Path(sys.executable).with_name("optuna-dashboard")
    command = [str(program), storage, "--port", str(port := closed_port())]
    with serving(command, port, page="/api/studies") as address:
        with urllib.request.urlopen(f"{address}/api/studies") as answer:
            [found] = json.load(answer)["study_summaries"]
        assert found["study_name"] == "s"
        with urllib.request.urlopen(f"{address}/api/studies/{found['study_id']}") as answer:
            [shown] = json.load(answer)["trials"]
        assert shown["values"] == [0.99]


def resume(study: optuna.Study, *overrides: str, digest: str = "some") -> None:
    with composing():
        cfg = compose("search", overrides=["search=plain", *overrides])
        space = Space(OmegaConf.masked_copy(cfg, list(compose("train"))), cfg.space)
    begin_or_resume(study, cfg, space, digest)


def test_a_study_keeps_its_settings():
    study = optuna.create_study(study_name="night")
    resume(study)
    assert study.ask().suggest_int("model.widths.0", 4, 12) == 8
    resume(study, "trials=7", "data.root=/data", "checkpoints.root=/checkpoints")
    assert len(study.get_trials()) == 1
    for changed, complaint in (
        ("trainer.max_epochs=3", "trainer.max_epochs=2, which is now 3"),
        ("budget.parameters=4000", "budget.parameters=5000, which is now 4000"),
        ("final.seeds=9", "final.seeds=20, which is now 9"),
        ("smallest_above=0.9", "smallest_above=None, which is now 0.9"),
        ("+space.model.head=[1]", r"space.model.head=Cat.*\(1, 3\)\), which is now Cat.*\(1,\)"),
    ):
        with pytest.raises(UserError, match=f"the study night was begun with {complaint}"):
            resume(study, changed)
    with pytest.raises(UserError, match="begun with images=some, which is now others"):
        resume(study, digest="others")


def test_a_study_that_was_killed_while_it_was_begun_goes_on(monkeypatch):
    study, keep = optuna.create_study(study_name="night"), optuna.Study.set_user_attr

    def killed(self, name, value):
        if name == SETTINGS:
            raise KeyboardInterrupt
        keep(self, name, value)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(optuna.Study, "set_user_attr", killed)
        resume(study)
    resume(study)
    assert len(study.get_trials()) == 1


def test_a_study_of_another_program_is_refused():
    study = optuna.create_study(study_name="night")
    study.ask()
    with pytest.raises(UserError, match="the study night is another program's: give the new one"):
        resume(study)


def test_a_study_may_get_larger_until_it_has_all_its_finalists():
    study = optuna.create_study(study_name="night")
    resume(study, "trials=20", "full=8")
    study.set_user_attr("finalists", [3, 4])
    resume(study, "trials=30", "full=8")
    study.set_user_attr("finalists", [3, 4, 11])
    resume(study, "trials=30", "full=8")
    resume(study, "trials=20", "full=8")
    for larger in ("trials=31,full=8", "trials=20,full=9"):
        with pytest.raises(UserError, match=r"night has all its finalists, which .*, before .*can"):
            resume(study, *larger.split(","))


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


PLACES = {"journal": "{}/some/search.journal", "sqlite": "sqlite:///{}/some/search.db"}


@pytest.fixture(params=["journal", "sqlite", "postgresql"])
def storage(request, tmp_path) -> Iterator[BaseStorage]:
    if place := PLACES.get(request.param):
        opened = open_storage(place.format(tmp_path))
    else:
        opened = open_storage(request.getfixturevalue("postgresql"))
    for study in opened.get_all_studies():  # of the test before, where they share a database
        opened.delete_study(opened.get_study_id_from_name(study.study_name))
    yield opened
    if isinstance(opened, RDBStorage):
        opened.engine.dispose()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
class TestStorages(StorageTestCase):
    """Optuna's own suite."""
