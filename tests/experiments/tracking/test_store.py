"""Stores that many write to at once, that go away, and that keep a password."""

import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest
from conftest import ONE_THREAD, PROJECT, closed_port, configure, quick, serving, wait_for_epoch
from mlflow import MlflowClient
from omegaconf import OmegaConf

from experiments.cli.errors import UserError
from experiments.tracking.run import TrackedRun
from experiments.tracking.store import BEGUN_AS, Store

EPOCHS = 50
WRITER = """
import sys
from omegaconf import OmegaConf
from experiments.tracking.run import TrackedRun
from experiments.tracking.store import Store

uri, artifacts, number, epochs = sys.argv[1:]
store = Store(OmegaConf.create(
    {"uri": uri, "experiment": "many", "artifacts": artifacts, "patience": 60}))
with TrackedRun(store, f"run {number}", {"config_hash": number}, resume=None) as run:
    history, ended = [], []
    for epoch in range(1, int(epochs) + 1):
        history.append({f"metric/{i}": epoch + int(number) / 100 for i in range(6)})
        ended.append(epoch)
        store.patiently(run.log_history, history, ended)
"""


def write_at_once(uri: str, artifacts: Path, processes: int, **environment: str) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, uri, str(artifacts), str(number), str(EPOCHS)],
            cwd=PROJECT,
            env=os.environ | environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    for writer in writers:
        _, errors = writer.communicate(timeout=300)
        assert writer.returncode == 0, errors
        assert "locked" not in errors


def assert_nothing_is_lost(client: MlflowClient, processes: int) -> None:
    [experiment] = [e for e in client.search_experiments() if e.name == "many"]
    runs = client.search_runs([experiment.experiment_id])
    numbers = sorted(int(run.data.tags["config_hash"]) for run in runs)
    assert numbers == list(range(processes))
    assert {run.info.status for run in runs} == {"FINISHED"}
    for run in runs:
        number = int(run.data.tags["config_hash"])
        for i in range(6):
            history = client.get_metric_history(run.info.run_id, f"metric/{i}")
            values = [(metric.step, metric.value) for metric in history]
            assert sorted(values) == [(e, e + number / 100) for e in range(1, EPOCHS + 1)]


@pytest.mark.slow
def test_four_processes_write_to_sqlite_at_once(tmp_path):
    """They also create the database and the experiment, as there are none."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    write_at_once(uri, tmp_path / "artifacts", 4)
    assert_nothing_is_lost(MlflowClient(uri), 4)


@pytest.fixture
def store(tmp_path) -> Store:
    places = {"uri": f"sqlite:///{tmp_path}/mlflow.db", "artifacts": str(tmp_path / "artifacts")}
    return Store(OmegaConf.create(places | {"experiment": "one", "patience": 60}))


def test_an_epoch_that_is_trained_again_is_logged_once(store):
    """The run was killed after its metrics of epoch 3 were sent, before the checkpoint."""
    rows = [{"val/acc": 0.1 * epoch} for epoch in range(1, 5)]
    run = TrackedRun(store, "run", {}, resume=None)
    run.log_history(rows[:3], [1, 2, 3])
    again = TrackedRun(store, "run", {}, resume=store.client.get_run(run.id))
    for epochs in (2, 3, 4):
        again.log_history(rows[:epochs], [10, 20, 30, 40][:epochs])
    logged = store.client.get_metric_history(run.id, "val/acc")
    assert sorted(metric.step for metric in logged) == [1, 2, 3, 4]


def test_a_resumed_run_has_the_tags_of_now_and_those_of_its_beginning(store):
    first = TrackedRun(store, "run", {"device": "cpu", "commit": "a"}, resume=None)
    first.fail("the disk was full")
    for commit in ("b", "c"):
        before = store.client.get_run(first.id)
        TrackedRun(store, "run", {"device": "cpu", "commit": commit}, resume=before)
    run = store.client.get_run(first.id)
    assert run.info.status == "RUNNING"
    assert (run.data.tags["commit"], run.data.tags["begun.commit"]) == ("c", "a")
    assert "begun.device" not in run.data.tags
    assert "error" not in run.data.tags


def test_more_metrics_than_mlflow_takes_at_once_are_all_sent(store):
    run = TrackedRun(store, "run", {}, resume=None)
    run.log_history([{"val/acc": 0.5, "train/acc": 0.5}] * 1300, list(range(1300)))
    for name in ("val/acc", "train/acc"):
        assert len(store.client.get_metric_history(run.id, name)) == 1300


PASSWORD = "correct-horse-battery"
LOGIN = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": PASSWORD}


class Server:
    """An MLflow server that can be started and stopped, always at the same address."""

    def __init__(self, folder: Path, store: str, *options: str, **environment: str) -> None:
        self.port, self.folder = closed_port(), folder
        self.address = f"http://127.0.0.1:{self.port}"
        self.command = [sys.executable, "-m", "mlflow", "server", f"--backend-store-uri={store}"]
        self.command += [
            f"--artifacts-destination={folder}/served",
            f"--port={self.port}",
            *options,
        ]
        # its job runners take seconds to start, and have nothing to do
        self.environment = (
            os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | environment
        )

    def up(self) -> AbstractContextManager[str]:
        return serving(self.command, self.port, env=self.environment, cwd=self.folder)


@pytest.mark.slow
def test_sixteen_processes_write_to_postgresql_through_a_server_at_once(postgresql, tmp_path):
    with Server(tmp_path, postgresql, "--workers=2").up() as address:
        write_at_once(address, tmp_path, 16)
        assert_nothing_is_lost(MlflowClient(address), 16)


@pytest.mark.slow
@pytest.mark.parametrize("served", [False, True], ids=["directly", "behind a server"])
def test_a_whole_run_ends_in_postgresql(postgresql, workplace, small, tmp_path, served):
    """With its artifacts and its model, of which there is one though the run ends twice."""
    with ExitStack() as stack:
        uri = postgresql
        if served:
            uri = stack.enter_context(Server(tmp_path, postgresql, "--workers=1").up())
        command = quick(small, "trainer.max_epochs=1", f"seed={int(served)}")
        places = (f"tracking.uri={uri}", f"tracking.artifacts={tmp_path}/artifacts")
        client = MlflowClient(uri)
        for _ in range(2):
            result = workplace.run("train", *command, *places, "tracking.model=true")
            assert result.returncode == 0, result.stderr
            [experiment] = [e for e in client.search_experiments() if e.name == "parsimony"]
            query = f"params.seed = '{int(served)}' and attributes.status = 'FINISHED'"
            [run] = client.search_runs([experiment.experiment_id], query)
            client.update_run(run.info.run_id, status="RUNNING")  # as if it had been killed there
        models = client.search_logged_models([experiment.experiment_id])
        assert [model.source_run_id for model in models].count(run.info.run_id) == 1
        assert {"weights.pt", "config.yaml"} <= {
            file.path for file in client.list_artifacts(run.info.run_id)
        }


@pytest.fixture
def guarded(tmp_path_factory) -> Iterator[str]:
    """The address of a server with a password before it."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "auth.ini").write_text(
        "[mlflow]\ndefault_permission = READ\n"
        f"database_uri = sqlite:///{folder}/auth.db\n"
        f"admin_username = admin\nadmin_password = {PASSWORD}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    environment = {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "a secret of this test",
    }
    options = ("--workers=1", "--app-name=basic-auth")
    with Server(folder, f"sqlite:///{folder}/mlflow.db", *options, **environment).up() as address:
        yield address


@pytest.mark.slow
def test_a_password_never_leaves_the_environment(guarded, workplace, small, monkeypatch):
    command = quick(small, "trainer.max_epochs=1", "optimizer.lr=0.019,1e30")
    places = (f"checkpoints.root={workplace.folder}/ckpt", f"hydra.sweep.dir={workplace.folder}/s")
    in_uri = {"MLFLOW_TRACKING_URI": guarded.replace("http://", f"http://admin:{PASSWORD}@")}
    beside_it = {"MLFLOW_TRACKING_URI": guarded, **LOGIN}
    for seed, environment in enumerate((beside_it, in_uri)):
        workplace.places = (*places, f"seed={seed}")
        result = workplace.run("train", "-m", *command, **environment)
        assert result.returncode == 1
        assert "1 trained" in result.stdout, result.stdout + result.stderr
        assert PASSWORD not in result.stdout + result.stderr
    for path in workplace.folder.rglob("*"):
        assert path.is_dir() or PASSWORD.encode() not in path.read_bytes(), path
    for name, value in LOGIN.items():
        monkeypatch.setenv(name, value)
    client = MlflowClient(guarded)
    runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert len(runs) == 6
    for run in runs:
        assert PASSWORD not in str(run.to_dictionary())


def started(workplace, away, *arguments: str) -> subprocess.Popen:
    command = workplace.command("train", *arguments, f"tracking.uri={away.address}")
    environment = os.environ | ONE_THREAD
    return subprocess.Popen(
        command,
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_a_server_that_is_away_for_20_seconds_misses_nothing(workplace, small):
    epochs, away = 40, Server(workplace.folder, workplace.uri, "--workers=1")
    with away.up():
        process = started(workplace, away, *quick(small, f"trainer.max_epochs={epochs}"))
        wait_for_epoch(workplace, 3)
    time.sleep(20)
    assert process.poll() is None  # the run went on
    with away.up():
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
        _, network = errors.splitlines()  # nothing of the server
        assert network.startswith("network: ")
    [run] = workplace.seeds()
    assert run.info.status == "FINISHED"
    steps = [step for step, _ in workplace.history(run.info.run_id, "val/acc")]
    assert steps == list(range(1, epochs + 1))


@pytest.mark.slow
def test_a_server_that_never_comes_back_costs_no_training(workplace, small):
    epochs, away = 8, Server(workplace.folder, workplace.uri, "--workers=1")
    command = quick(small, f"trainer.max_epochs={epochs}", "tracking.patience=2")
    with away.up():
        process = started(workplace, away, *command)
        wait_for_epoch(workplace, 2)
    output, errors = process.communicate(timeout=200)
    assert (process.returncode, output) == (1, "")
    assert "the tracking store failed" in errors
    assert "the same command goes on from there" in errors
    assert len(errors.splitlines()) == 3, "what is to be trained, its network, and the error"
    [folder] = [p for p in workplace.folder.glob("checkpoints/*") if p.is_dir()]
    assert (folder / "last.ckpt").exists()
    assert (folder / "train.log").read_text().count("INFO epoch") == epochs
    with away.up():
        process = started(workplace, away, *command)
        _, errors = process.communicate(timeout=200)
        assert process.returncode == 0, errors
    [run] = workplace.seeds()
    assert run.info.status == "FINISHED"
    steps = [step for step, _ in workplace.history(run.info.run_id, "val/acc")]
    assert steps == list(range(1, epochs + 1))
    assert (folder / "train.log").read_text().count("INFO epoch") == epochs  # none trained anew


def test_a_store_is_created_whole_or_not_at_all(tmp_path):
    """A disk that is full, then what a process left that was killed."""
    tracking = OmegaConf.create(
        {"uri": f"sqlite:///{tmp_path}/new.db", "artifacts": str(tmp_path / "artifacts")}
        | {"experiment": "one", "patience": 60}
    )
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(UserError, match=r"cannot be used: .*; free space on its disk"):
            Store(tracking)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.glob("*.db")) + list(tmp_path.glob(".new*"))
    (tmp_path / ".new.db-killed").mkdir()
    assert Store(tracking).search("") == []
    assert not list(tmp_path.glob(".new*"))


def test_a_store_of_another_kind_or_version_is_explained(store, tmp_path):
    tracking = OmegaConf.create(
        {"uri": store.uri, "artifacts": "/proc/x", "experiment": "one", "patience": 60}
    )
    with pytest.raises(UserError, match=r"tracking.artifacts=/proc/x: cannot be written"):
        Store(tracking)
    tracking.artifacts = str(tmp_path)
    for number, change, complaint in (
        (1, "update alembic_version set version_num = 'x'", "schema .*; keep a copy and upgrade"),
        (2, "drop table alembic_version", "move it away, or use another store"),
    ):
        changed = tmp_path / f"{number}.db"
        shutil.copy(tmp_path / "mlflow.db", changed)
        with sqlite3.connect(changed) as database:
            database.execute(change)
        database.close()
        tracking.uri = f"sqlite:///{changed}"
        with pytest.raises(UserError, match=complaint):
            Store(tracking)


def test_an_experiment_that_was_deleted_or_renamed_is_named(workplace):
    cfg = configure("train", *workplace.places[:2]).tracking
    first = Store(cfg)
    client, identifier = workplace.client, first.experiment_id
    client.delete_experiment(identifier)
    for create in (True, False):
        command = f"MLFLOW_TRACKING_URI={workplace.uri} mlflow .* --experiment-id {identifier}"
        with pytest.raises(UserError, match=f"was deleted; .*{command}"):
            Store(cfg, create)
    client.restore_experiment(identifier)
    assert Store(cfg).experiment_id == identifier
    client.rename_experiment(identifier, "spring")
    for create in (True, False):
        with pytest.raises(UserError, match=r"has been renamed: tracking.experiment='spring' goes"):
            Store(cfg, create)
    cfg.experiment = "spring"
    assert Store(cfg).experiment_id == identifier
    client.delete_experiment(identifier)
    workplace.remove_deleted()
    cfg.experiment = "parsimony"
    assert Store(cfg).search("") == []


def test_an_experiment_that_another_process_creates_at_the_same_time_is_taken(
    workplace, monkeypatch
):
    cfg = configure("train", *workplace.places[:2], "tracking.experiment=many").tracking
    known, looks = MlflowClient.get_experiment_by_name, []

    def created_after_the_first_look(client, name):
        looks.append(name)
        if len(looks) == 1:
            client.create_experiment(name, tags={BEGUN_AS: name})
            return None
        return known(client, name)

    monkeypatch.setattr(MlflowClient, "get_experiment_by_name", created_after_the_first_look)
    identifier = Store(cfg).experiment_id
    assert identifier == known(workplace.client, "many").experiment_id


def test_runs_that_begin_at_the_same_moment_share_their_data_set(workplace):
    cfg, count = configure("train", *workplace.places[:2]), 4
    store, together = Store(cfg.tracking), threading.Barrier(count, timeout=20)

    def begin(number: int) -> None:
        for digest in "abcde":
            run = TrackedRun(store, f"{number}", {}, resume=None)
            together.wait()
            run.use_images(cfg, digest)

    with ThreadPoolExecutor(count) as threads:
        list(threads.map(begin, range(count)))
    assert all(len(run.inputs.dataset_inputs) == 2 for run in workplace.runs())


def test_links_lead_to_where_the_ui_was_last(workplace):
    cfg = configure("train", *workplace.places[:2]).tracking
    assert (
        Store(cfg).how_to_open("a") == "make ui, then http://127.0.0.1:5000/#/experiments/1/runs/a"
    )
    Store(cfg).share_view(5001)
    there = "make ui PORT=5001, then http://127.0.0.1:5001/#/experiments/1/runs/a"
    assert Store(cfg).how_to_open("a") == there
    store = Store(cfg)
    store.uri = "https://me:secret@host/mlflow/"
    assert store.how_to_open("a") == "https://me:***@host/mlflow/#/experiments/1/runs/a"


def test_an_experiment_that_others_made_is_missed_when_it_is_renamed(workplace):
    cfg = configure("train", *workplace.places[:2], "tracking.experiment=theirs").tracking
    other = configure("train", *workplace.places[:2]).tracking
    identifier = Store(other).client.create_experiment("theirs")
    assert Store(cfg).experiment_id == identifier
    workplace.client.rename_experiment(identifier, "ours")
    with pytest.raises(UserError, match=r"has been renamed: tracking.experiment='ours' goes"):
        Store(cfg)
