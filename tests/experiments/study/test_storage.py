import json
import sqlite3
import sys
import urllib.request
from pathlib import Path

import optuna
import pytest
from conftest import closed_port, serving

from experiments.cli.errors import UserError
from experiments.study.storage import open_storage, storage_errors_explained


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


def test_half_a_line_in_a_journal_is_reported(tmp_path):
    """As a power cut may leave it at the end; what others wrote before stays."""
    path = tmp_path / "search.journal"
    study(str(path)).ask()
    lines = path.read_bytes()
    path.write_bytes(lines + b'{"op_code":4,"wor')
    complaint = r"delete the line that starts with '{\"op_code\":4,\"wor{"
    with pytest.raises(UserError, match=complaint), storage_errors_explained(str(path)):
        study(str(path)).set_user_attr("settings", 1)
    rest = [line for line in path.read_bytes().splitlines(True) if b'"wor{' not in line]
    path.write_bytes(b"".join(rest))
    assert len(study(str(path)).get_trials()) == 1


def test_a_failure_is_explained_in_one_line(tmp_path):
    (tmp_path / "text.db").write_text("not a database, " * 100)
    storage = f"sqlite:///{tmp_path}/text.db"
    complaint = r"storage=sqlite.*: failed: file is not a database"
    with pytest.raises(UserError, match=complaint), storage_errors_explained(storage):
        study(storage)


@pytest.mark.parametrize("line", ["[1]", '{"a": 1}', '{"op_code": 99}', "7"])
def test_a_foreign_journal_is_refused(tmp_path, line):
    (tmp_path / "foreign.journal").write_text(f"{line}\n")
    with pytest.raises(UserError, match=r"is not a storage of this Optuna, or is damaged"):
        open_storage(f"{tmp_path}/foreign.journal")


def test_a_database_of_another_version_is_refused(tmp_path):
    """MLflow's is one too: both keep a version that the other does not know."""
    storage = f"sqlite:///{tmp_path}/old.db"
    study(storage)
    with sqlite3.connect(tmp_path / "old.db") as database:
        database.execute("update alembic_version set version_num = 'v0'")
    database.close()
    with pytest.raises(UserError, match="is not a storage of this Optuna, or is damaged"):
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
