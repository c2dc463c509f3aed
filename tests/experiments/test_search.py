"""Searches as a user starts them: workers that are killed, resumed studies, finals, mistakes."""

import os
import re
import signal
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import optuna
import pytest
import torch
from conftest import ONE_THREAD, PROJECT, Workplace
from filelock import FileLock
from hydra.core.global_hydra import GlobalHydra
from mlflow.entities import Run
from optuna.trial import TrialState

from experiments.search import main
from experiments.study.storage import ID


class SearchPlace(Workplace):
    """A workplace with the storage of a study and a folder for its step files."""

    def __init__(self, folder: Path, small: Path) -> None:
        super().__init__(folder)
        (folder / "conf").mkdir()
        self.storage = f"sqlite:///{folder}/search.db"
        self.found = folder / "conf" / "step" / "found"
        self.data = ("data=idx", f"data.root={small}")
        self.path = f"hydra.searchpath=[file://{folder}/conf]"

    def search(self, *overrides: str) -> list[str]:
        return [
            *("search=plain", *self.places, *self.data, f"storage={self.storage}"),
            *(self.path, f"final.steps={self.found}", "data.holdout=500", "model.widths.0=4"),
            *("trainer.max_epochs=1", "full=0", "final.networks=0"),
            *("tracking.model=false", *overrides),
        ]

    def start(self, *overrides: str) -> subprocess.Popen:
        return subprocess.Popen(
            self.command("search", *self.search(*overrides)),
            cwd=PROJECT,
            env=os.environ | ONE_THREAD,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def study(self, name: str = "plain") -> optuna.Study:
        return optuna.load_study(study_name=name, storage=self.storage)

    def trials(self) -> list[Run]:
        """The MLflow runs of trials."""
        return [run for run in self.runs() if "trial" in run.data.tags]


@pytest.fixture
def place(tmp_path, small) -> SearchPlace:
    return SearchPlace(tmp_path, small)


def search_here(place: SearchPlace, monkeypatch, *overrides: str) -> None:
    """In this process, as each would take seconds to start."""
    monkeypatch.setattr("sys.argv", ["search", *place.search(*overrides)])
    torch.set_num_threads(1)
    GlobalHydra.instance().clear()
    main()


def check_trials(place: SearchPlace, count: int, epochs: int) -> None:
    """Each trial was trained once and to the end, and has one MLflow run."""
    study = place.study()
    trials = [trial for trial in study.get_trials() if trial.state != TrialState.FAIL]
    assert Counter(trial.state for trial in trials) == {TrialState.COMPLETE: count}
    runs = [run for run in place.trials() if run.data.tags["stage"] == "short"]
    numbers = [trial.number for trial in trials]
    assert sorted(int(run.data.tags["trial"]) for run in runs) == numbers
    assert {run.info.status for run in runs} == {"FINISHED"}
    values = {trial.number: trial.value for trial in trials}
    for run in runs:
        steps = [step for step, _ in place.history(run.info.run_id, "val/acc")]
        assert steps == list(range(1, epochs + 1))
        number = int(run.data.tags["trial"])
        assert values[number] == run.data.metrics["val/acc"]
        assert study.user_attrs[f"run {number} 0 0"] == {
            "accuracy": run.data.metrics["val/acc"],
            "run": run.info.run_id,
        }


def wait_for_trials(place: SearchPlace, count: int) -> dict[int, int]:
    """Wait until so many trials are at work at a time; their workers, by trial."""
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline:
        logs = list(place.folder.glob("checkpoints/search-plain/*/train.log"))
        started = [log for log in logs if log.exists() and "epoch 2 of" in log.read_text()]
        if len(started) == count:
            with suppress(LookupError):  # one has just ended
                return {
                    int(log.parent.name.split("-")[1]): holder(log.parent / "lock")
                    for log in started
                }
        time.sleep(0.05)
    raise TimeoutError(f"not {count} trials at a time")


def holder(lock: Path) -> int:
    """The process that has a file open."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(file.resolve() == lock.resolve() for file in (process / "fd").iterdir()):
                return int(process.name)
        except OSError:
            continue
    raise LookupError(lock)


def test_a_device_that_cannot_do_it_is_refused_before_a_study_is_begun(place, monkeypatch, capsys):
    with pytest.raises(SystemExit, match=r"^1$"):
        search_here(place, monkeypatch, "trainer.accelerator=cpu", "trainer.precision=16-mixed")
    assert "trainer.precision=16-mixed is for a CUDA GPU, not for cpu" in capsys.readouterr().err
    assert not Path(place.folder, "search.db").exists()
    assert not place.runs()


@pytest.mark.slow
def test_two_workers_one_killed(place):
    """The other one resumes the trial, and the study ends with just as many as were asked for."""
    options = ("trials=3", "trainer.max_epochs=6")
    workers = [place.start(*options) for _ in range(2)]
    try:
        at_work = wait_for_trials(place, 2)
        assert set(at_work.values()) == {worker.pid for worker in workers}
        victim = at_work[min(at_work)]
        os.kill(victim, signal.SIGKILL)
        survivor = next(worker for worker in workers if worker.pid != victim)
        output, errors = survivor.communicate(timeout=300)
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    assert survivor.returncode == 0, errors
    assert "3 networks tried: 3 short runs" in output
    check_trials(place, 3, epochs=6)


@pytest.mark.slow
def test_all_workers_gone_and_started_again(place, monkeypatch):
    """After Ctrl-C, and after a crash between the start of a trial and its values."""
    worker = place.start("trials=2", "trainer.max_epochs=6")
    try:
        wait_for_trials(place, 1)
        worker.send_signal(signal.SIGINT)
        _, errors = worker.communicate(timeout=60)
    finally:
        worker.kill()
    assert worker.returncode == 130
    assert errors.startswith("interrupted; the same command goes on with the search")
    assert [run.info.status for run in place.runs()] == ["KILLED"] * 2  # the study's run, too
    place.study().ask()
    search_here(place, monkeypatch, "trials=2", "trainer.max_epochs=6")
    assert {run.info.status for run in place.runs()} == {"FINISHED"}
    check_trials(place, 2, epochs=6)


@pytest.fixture(scope="module")
def searched(tmp_path_factory, small) -> tuple[SearchPlace, subprocess.CompletedProcess]:
    """A whole search by two workers, started by a launcher."""
    place = SearchPlace(tmp_path_factory.mktemp("search"), small)
    options = (
        *("trials=10", "full=9", "final.networks=2", "final.seeds=3", "final.max_epochs=2"),
        "+space.optimizer.lr={low: 0.02, high: 0.5, log: true}",
    )
    command = ("-m", *place.search(*options), "worker=range(2)", "launcher=local")
    return place, place.run("search", *command)


@pytest.mark.slow
def test_a_launcher_starts_workers_that_end_with_a_report(searched):
    place, result = searched
    assert result.returncode == 0, result.stdout + result.stderr
    check_trials(place, 10, epochs=1)
    assert result.stdout.startswith("search plain: the most accurate network\nbudget: at most 5,")
    assert "2 searched" in result.stdout
    tried = "10 networks tried: 10 short runs, 9 full runs, 6 runs of 2 finalists"
    assert result.stdout.count(tried) == 1
    assert "the most accurate finalist: " in result.stdout
    file = re.search("^its file: (.*)$", result.stdout, re.M)[1]
    assert Path(file).parent == place.found
    assert Path(file).exists()
    assert "all verdicts together are right with 95 %" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr
    assert "Warning" not in result.stderr
    assert not list(place.folder.glob("checkpoints/search-plain/*/"))  # of claims


@pytest.mark.slow
def test_trials_are_nested_runs_of_the_study(searched):
    place, _ = searched
    [parent] = [run for run in place.runs() if run.data.tags.get("kind") == "study"]
    for run in place.trials():
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert run.data.tags["validated_on"] == "500 of the training images"
        assert "config_hash" not in run.data.tags  # it is no evidence for a step
        number = int(run.data.tags["trial"])
        values = place.study().get_trials()[number].params
        assert run.data.params["optimizer.lr"] == str(values["optimizer.lr"])
        assert f"'{values['model.blocks.1']}'" in run.data.params["model.blocks"]
        assert run.data.metrics["parameters"] <= 5000
    short, full = (
        [run.data.params for run in place.trials() if run.data.tags["stage"] == stage]
        for stage in ("short", "full")
    )
    assert {params["seed"] for params in short} == {"0"}  # all share it
    assert {params["trainer.max_epochs"] for params in full} == {"2"}
    metrics = parent.data.metrics
    assert [metrics[f"runs/{stage}"] for stage in ("short", "full", "final")] == [10, 9, 6]
    files = {file.path for file in place.client.list_artifacts(parent.info.run_id)}
    assert files == {"report.html", "trials.csv"}


@pytest.mark.slow
def test_finalists_are_steps_that_experiments_train_knows(searched):
    place, _ = searched
    finals = [run for run in place.seeds() if run.data.tags.get("step", "").startswith("found/")]
    assert len(finals) == 6
    assert len(place.study().user_attrs["finalists"]) == 2
    assert {run.data.tags["validated_on"] for run in finals} == {"test images"}
    assert {run.data.params["trainer.max_epochs"] for run in finals} == {"2"}
    for file in place.found.glob("*.yaml"):
        package, schema, *_ = file.read_text().splitlines()
        assert package == "# @package _global_"
        assert (place.found / schema.partition("$schema=")[2]).exists(), schema
    assert {f"found/{file.stem}" for file in place.found.glob("*.yaml")} == {
        run.data.tags["step"] for run in finals
    }
    step = f"step={finals[0].data.tags['step']}"
    again = place.run("train", step, "seed=1001", place.path, *place.data[1:])
    assert again.returncode == 0, again.stderr
    assert "trained before" in again.stdout


@pytest.mark.slow
def test_the_smallest_network_above_a_target(place, monkeypatch, capsys):
    """Its step file has the target and the data, so that the gate can hold it."""
    finals = ("full=4", "final.networks=2", "final.seeds=4", "final.max_epochs=2")
    search_here(place, monkeypatch, "trials=6", "smallest_above=0.3", *finals)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "search plain: the smallest network that reaches 30.00 %"
    assert [line.partition(":")[0] for line in lines[1:5]] == ["budget", "space", "trials", "time"]
    assert (
        "at most 4 full runs of 2 epochs, then one seed after the other of 2 finalists" in lines[3]
    )
    assert lines[4].startswith("time: at most 14 epochs, and at most 16 more for finalists")
    [held] = [line for line in lines if line.startswith("smallest network known to hold 30.00 %")]
    step = held.rpartition(", ")[2]
    text = (place.found.parent / f"{step}.yaml").read_text()
    assert f"root: {place.data[1].removeprefix('data.root=')}" in text
    assert "target: {val_acc: 0.3}" in text
    gate = (f"step={step}", "stage=evidence", f"tracking.uri={place.uri}", place.path)
    result = place.run("gate", *gate, "min_seeds=2", "judged_by=mean")
    assert result.returncode == 0, result.stdout + result.stderr
    wait_for_a_finalist(place, step, monkeypatch, "trials=6", "smallest_above=0.3", *finals)


def wait_for_a_finalist(place: SearchPlace, step: str, monkeypatch, *options: str) -> None:
    """A race that is over waits for another worker, which trains a further seed of a finalist."""
    study, number = place.study("plain"), step.rpartition("-")[2]
    name, attributes = "search-plain", study.user_attrs
    seed = next(n for n in range(9) if f"run {number} 2 {n}" not in attributes)
    folder = place.folder / "checkpoints" / name / f"{attributes[ID]}-{number}-2-{seed}"
    folder.mkdir(exist_ok=True)
    released: list[float] = []

    def work() -> None:
        time.sleep(8)
        released.append(time.monotonic())

    with FileLock(folder / "lock", thread_local=False) as lock, ThreadPoolExecutor() as pool:
        pool.submit(work).add_done_callback(lambda _: lock.release())
        search_here(place, monkeypatch, *options)
        assert released


@pytest.mark.slow
def test_a_killed_race_ends_like_an_undisturbed_one(tmp_path, small):
    """Killed three times without warning: every run once, and the same winner."""
    finals = ("final.networks=1", "final.seeds=3", "final.max_epochs=2")
    options = ("trials=4", "smallest_above=0.3", "full=3", *finals)
    winners, places = [], []
    for name, kills in (("whole", 0), ("killed", 3)):
        (tmp_path / name).mkdir()
        place = SearchPlace(tmp_path / name, small)
        for _ in range(kills):
            worker, before = place.start(*options), len(place.runs())
            deadline = time.monotonic() + 120
            while len(place.runs()) < before + 3 and time.monotonic() < deadline:
                time.sleep(0.1)
            worker.kill()
            worker.communicate()
        output, errors = place.start(*options).communicate(timeout=300)
        assert "smallest network known to hold" in output, errors
        winners.append([line for line in output.splitlines() if "known to hold" in line])
        places.append(place)
    assert winners[0] == winners[1]
    whole, killed = (place.study().user_attrs for place in places)
    results = [
        {k: v["accuracy"] for k, v in one.items() if k[:4] == "run "} for one in (whole, killed)
    ]
    assert results[0] == results[1]
    for place in places:
        runs = [
            (r.data.tags["trial"], r.data.tags["stage"], r.data.params["seed"])
            for r in place.trials()
        ]
        assert len(runs) == len(set(runs)), "a run was trained twice"
        assert {run.info.status for run in place.trials()} == {"FINISHED"}


@pytest.mark.slow
def test_a_study_in_postgresql(place, postgresql, monkeypatch, capsys):
    for trials in (1, 2):
        search_here(place, monkeypatch, f"trials={trials}", f"storage={postgresql}")
        assert re.search(rf"{trials} networks? tried: {trials} short", capsys.readouterr().out)
    assert len(optuna.load_study(study_name="plain", storage=postgresql).get_trials()) == 2
    assert len(place.trials()) == 2


def test_a_study_begun_anew_has_nothing_of_the_old_one(place, monkeypatch, capsys):
    expected = r"about \d+ s to the finals, at [\d.]+ s an epoch: the median of 1 run in the store"
    for told in (0, 1):  # that is told by the runs of the old one
        search_here(place, monkeypatch, "trials=1")
        assert len(re.findall(expected, capsys.readouterr().out)) == told
        Path(place.folder, "search.db").unlink()
    trials = place.trials()
    assert [run.data.tags["trial"] for run in trials] == ["0", "0"]
    for tag in ("study.id", "mlflow.parentRunId"):
        assert len({run.data.tags[tag] for run in trials}) == 2


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["trials=0"], "trials must be at least 1, not 0"),
        (["search=plane"], "search=plane does not exist; choose one of blocks, plain, scale"),
        (["study=a/b"], "study must be text without special characters, not a/b"),
        (["data.holdout=null"], "data.holdout must be a whole number, not null"),
        (["data.holdout=2000"], "data.holdout is 2,000, but there are 2,000 training images"),
        (["smallest_above=99"], "smallest_above must be at most 1, not 99"),
        (["sampler.n_startup_trials=x", "sampler=tpe"], "sampler"),
        (["model.blocks=plane"], "model.blocks must be 'plain', 'separable'"),
        (["fused.seed=2"], "fused is for experiments.train"),
        (["storage=postgresql://me:secret@host/db"], "storage=postgresql://me:***@host/db: a pass"),
        (["storage=sqlite:////dev/null/a.db"], "/dev/null"),
        (["storage=oracle://host/db"], "storage=oracle://host/db"),
        (
            ["final.networks=1", "final.steps=/other"],
            "final.steps=/other: steps are",
        ),
        (["budget.parameters=100"], "space: even the smallest network found in it is over budget"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_mistake(place, monkeypatch, capsys, arguments, complaint):
    monkeypatch.setattr("experiments.study.proposals.RaceSampler.LIMIT", 100)
    with pytest.raises(SystemExit) as exit:
        search_here(place, monkeypatch, *arguments)
    errors = capsys.readouterr().err
    assert exit.value.code == 1
    assert complaint in errors
    assert len(errors.splitlines()) == 1
    assert not place.trials()


def test_steps_of_an_earlier_study_of_its_name_stay(place, monkeypatch, capsys):
    place.found.mkdir(parents=True)
    step = place.found / "plain-3.yaml"
    step.write_text("# Found by a search: plain, trial 3")
    (place.found / "plain-night-3.yaml").write_text("of a study of another name")
    with pytest.raises(SystemExit):
        search_here(place, monkeypatch, "final.networks=1")
    [line] = capsys.readouterr().err.splitlines()
    assert f"{step}: was not written by this study" in line
    assert step.read_text() == "# Found by a search: plain, trial 3"
    assert not place.trials()
