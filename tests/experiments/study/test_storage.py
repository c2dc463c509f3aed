import optuna
import pytest

from experiments.cli.errors import UserError
from experiments.study.storage import explained, open_storage


def study(storage: str) -> optuna.Study:
    return optuna.create_study(study_name="s", storage=open_storage(storage), load_if_exists=True)


@pytest.mark.parametrize("kind", ["{}/some/where/search.journal", "sqlite:///{}/some/search.db"])
def test_a_trial_that_runs_can_wait_again(tmp_path, kind):
    """What giving a trial back rests on: its number, values and reports stay."""
    storage = kind.format(tmp_path)
    first = study(storage).ask()
    x = first.suggest_float("x", 0, 1)
    first.report(0.5, step=1)
    later = study(storage)
    later._storage.set_trial_state_values(first._trial_id, optuna.trial.TrialState.WAITING)
    again = later.ask()
    assert (again.number, again.suggest_float("x", 0, 1)) == (0, x)
    [trial] = study(storage).get_trials()
    assert trial.intermediate_values == {1: 0.5}


def test_a_journal_outlives_a_power_cut(tmp_path):
    """Which may leave half a line at its end."""
    path = tmp_path / "search.journal"
    study(str(path)).ask()
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines()[-1][:20])
    study(str(path)).ask()
    assert len(study(str(path)).get_trials()) == 2


def test_what_fails_is_explained_without_passwords_of_ours(tmp_path):
    (tmp_path / "text.db").write_text("not a database, " * 100)
    storage = f"sqlite:///{tmp_path}/text.db"
    complaint = r"storage=sqlite.*: failed: file is not a database"
    with pytest.raises(UserError, match=complaint), explained(storage):
        study(storage)
