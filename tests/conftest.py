"""What the tests share: real MNIST, a small part of it, and programs run as a user runs them."""

import functools
import importlib
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import warm
from click.testing import CliRunner
from mlflow import MlflowClient
from mlflow.entities import Run
from warm import ONE_THREAD

PROJECT = Path(__file__).parents[1]
MNIST = PROJECT / "data" / "MNIST" / "raw"  # made by `make setup`
POSTGRESQL = Path("/usr/lib/postgresql").glob("*/bin/initdb")
OWN = {  # the files of conf/, by their groups
    "augmentation": ("affine", "blur"),
    "data": ("csv", "emnist", "fashion_mnist", "idx", "kmnist", "mnist", "qmnist"),
    "experiment": (
        *("dropout_mlp", "dropout_mlp_99", "kaggle_digits", "kaggle_vgg16"),
        *("scratch_mlp", "woolly", "zero_vs_five"),
    ),
    "launcher": ("gpus", "local", "ray", "slurm"),
    "loss": ("cross_entropy", "distillation", "squared_error"),
    "model": ("blocks", "convnet", "ladder", "mlp"),
    "optimizer": ("adam", "sgd"),
    "sampler": ("nsga2", "random", "tpe"),
    "scheduler": ("one_cycle", "step"),
    "search": ("blocks", "plain", "scale", "separable"),
    "step": (
        *(f"s{number:02}" for number in range(1, 15)),
        *("found/hand", "found/p4000-0", "found/p4000-11", "found/p4000-16"),
        *("found/f2000-14", "found/g2000-23", "found/g3000-18"),
    ),
    "trainer": ("lightning",),
}
EPOCH_METRICS = {"train/loss", "train/acc", "val/loss", "val/acc", "lr", "epoch_seconds"}


os.environ["COLUMNS"] = "300"  # the width of a terminal; `screen` tries others

# what a shell starts in the background ignores Ctrl-C, and would hand that down to what we start
signal.signal(signal.SIGINT, signal.default_int_handler)

# minutes each: with these first, both processes end at about the same time
LONGEST = (
    *("test_fuzz", "test_run", "test_printed"),  # of the slow ones
    "test_train",
    "test_sweep",
    "test_fit",
    "test_fused",
    "test_search",
    "test_gate",
    "test_learner",
    "test_callback",
    "test_predict",
    "test_find",
)


def pytest_configure(config: pytest.Config) -> None:
    # the other tests are of the CPU's path, and run two at a time
    if not config.option.markexpr.startswith("gpu"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


def idx(path: Path, array) -> None:
    """Write a uint8 tensor as an IDX file."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    path.write_bytes(header + array.numpy().tobytes())


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of IDX files: the first 2,000 training and 500 test images of MNIST."""
    from experiments.data.idx import IDXFolder

    folder = tmp_path_factory.mktemp("small")
    for train, split, count in ((True, "train", 2000), (False, "t10k", 500)):
        whole = IDXFolder(str(MNIST), train)
        idx(folder / f"{split}-images-idx3-ubyte", whole.data[:count])
        idx(folder / f"{split}-labels-idx1-ubyte", whole.targets[:count])
    return folder


@functools.cache
def own_conf() -> Path:
    """A copy of conf/ with the files in OWN alone, without what a user has added to it."""
    folder = Path(tempfile.mkdtemp(prefix="conf-"))
    own = [f"{group}/{name}.yaml" for group, names in OWN.items() for name in names]
    for name in (*(path.name for path in PROJECT.glob("conf/*.*")), *own):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / "conf" / name, folder / name)
    return folder


@functools.cache
def empty_store() -> Path:
    """An MLflow database with its tables and nothing in them."""
    path = Path(tempfile.mkdtemp()) / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


class Workplace:
    """A folder for a store and checkpoints, and programs that use it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copy(empty_store(), folder / "mlflow.db")  # making one takes seconds
        self.uri = f"sqlite:///{folder}/mlflow.db"
        self.places = (
            f"tracking.uri={self.uri}",
            f"tracking.artifacts={folder}/artifacts",
            f"checkpoints.root={folder}/checkpoints",
            f"hydra.sweep.dir={folder}/sweeps",
        )

    def command(self, program: str, *arguments: str) -> list[str]:
        sweep = arguments[:1] == ("-m",)  # which has to come ahead of what it sweeps
        places = self.places if program in ("train", "bench") else ()
        settings = (*arguments[:sweep], *places, *arguments[sweep:])
        return [sys.executable, "-m", f"experiments.{program}", *settings]

    def run(
        self, program: str, *arguments: str, cwd: Path = PROJECT, **environment: str
    ) -> subprocess.CompletedProcess:
        _, _, module, *settings = self.command(program, *arguments)
        return warm.run(module, settings, cwd, os.environ | ONE_THREAD | environment)

    @property
    def client(self) -> MlflowClient:
        return MlflowClient(self.uri)

    def runs(self) -> list[Run]:
        """All runs in the store, the latest first."""
        return self.client.search_runs([e.experiment_id for e in self.client.search_experiments()])

    def seeds(self) -> list[Run]:
        """The runs that were trained; the others sum them up."""
        return [run for run in self.runs() if "mlflow.parentRunId" in run.data.tags]

    def remove_deleted(self) -> None:
        """Remove for good what was deleted."""
        from mlflow.cli import cli  # a second

        options = ["--backend-store-uri", self.uri, "--tracking-uri", self.uri]
        result = CliRunner().invoke(cli, ["gc", *options])
        assert result.exit_code == 0, result.output

    def history(self, run_id: str, name: str) -> list[tuple[int, float]]:
        return [(m.step, m.value) for m in self.client.get_metric_history(run_id, name)]


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


def quick(small: Path, *overrides: str) -> list[str]:
    """Arguments for step 13 on little data."""
    return ["step=s13", "data=idx", f"data.root={small}", "tracking.model=false", *overrides]


def trainer_of(cfg, workplace: Workplace):
    """Lightning's trainer of a run in the store of a workplace; for training in this process."""
    from experiments.tracking.run import TrackedRun
    from experiments.tracking.store import Store
    from experiments.training.history import History
    from experiments.training.trainer import make_trainer

    cfg.tracking.uri, cfg.tracking.artifacts = workplace.uri, str(workplace.folder / "artifacts")
    run = TrackedRun(Store(cfg.tracking), "test", {}, resume=None)
    return make_trainer(cfg, History([run], workplace.folder))


def composing():
    """The context in which Hydra composes configurations of the project's own files."""
    from experiments.cli.compose import started

    return started(own_conf())


def configure(name: str, *overrides: str):
    """A program's configuration, as its command line makes it."""
    from hydra import compose

    with composing():
        return compose(name, overrides=list(overrides))


@pytest.fixture(scope="session")
def csv_files(tmp_path_factory, small) -> Path:
    """train.csv with 2,000 rows, test.csv and truth.csv with 500."""
    from experiments.data.competition_files import make

    folder = tmp_path_factory.mktemp("competition")
    given = ("data=idx", f"data.root={small}", f"root={folder}", "rows=2000")
    make(configure("competition", *given))
    return folder


@pytest.fixture(scope="session")
def digits(tmp_path_factory, csv_files) -> Workplace:
    """A store with one seed of the competition's network, trained shortly."""
    workplace = Workplace(tmp_path_factory.mktemp("predict"))
    result = workplace.run(
        "train",
        "experiment=kaggle_digits",
        f"data.root={csv_files}",
        "data.held_out=200",
        "trainer.max_epochs=3",
        "target.val_acc=0.8",
        "tracking.model=false",
    )
    assert result.returncode == 0, result.stderr
    return workplace


@pytest.fixture
def run_here(monkeypatch, capsys):
    """Run a program in this process; its status, output and errors."""

    def run(program: str, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", [program, *arguments])
        monkeypatch.setattr("experiments.cli.program.CONF", own_conf())
        status = 0
        try:
            importlib.import_module(f"experiments.{program}").main()
        except SystemExit as exit:
            status = exit.code
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def run_predict(digits, run_here):
    """Run the program in this process; its status, output and errors."""
    return functools.partial(run_here, "predict", f"tracking.uri={digits.uri}")


@pytest.fixture(params=[80, 110])
def screen(request, monkeypatch):
    """A terminal that many columns wide, and the check that a text on it is as kept in
    screens/NAME-COLUMNS.txt; where there is no such file, it is written, to be looked at. Figures
    that differ from run to run are kept as zeros: those that match `varying`, and ids."""
    columns = request.param
    monkeypatch.setenv("COLUMNS", str(columns))

    def check(name: str, text: str, varying: str = "$^") -> None:
        text = re.sub(r"\b[0-9a-f]{32}\b", "0" * 32, text)
        text = re.sub(varying, lambda found: re.sub(r"\d", "0", found[0]), text)
        lines = [line.rstrip() for line in text.splitlines()]
        assert max(map(len, lines)) <= columns
        path, shown = PROJECT / f"tests/screens/{name}-{columns}.txt", "\n".join(lines) + "\n"
        if not path.exists():
            path.write_text(shown, encoding="utf-8")
            pytest.fail(f"{path} is new: look at it, and test again")
        assert shown == path.read_text(encoding="utf-8")

    return check


def wait_for_epoch(workplace: Workplace, epoch: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        logs = list(workplace.folder.glob("checkpoints/*/train.log"))
        if logs and f"epoch {epoch} of" in logs[0].read_text():
            return
        time.sleep(0.05)
    raise TimeoutError(f"no epoch {epoch} in {workplace.folder}")


# what a run begins with
BEGUN = re.compile(r"^.*: [\d,]+ epochs? on \w+\n(network: [\d,]+ parameters\n)?")


def one_line(result: subprocess.CompletedProcess, begun: str = "") -> str:
    """The only line that a failed program wrote: no traceback, nothing else; but for what a run
    begins with, where there is `begun`."""
    assert result.returncode != 0
    assert result.stdout == ""
    errors = BEGUN.sub("", result.stderr)
    assert begun in result.stderr.removesuffix(errors)
    assert len(errors.splitlines()) == 1, result.stderr
    return errors.strip()


def closed_port() -> int:
    """A port of the loopback address on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def serving(command: list[str], port: int, page: str = "/health", **options) -> Iterator[str]:
    """The address of a server, from when it answers until the context ends, when it is killed."""
    with tempfile.TemporaryFile("w+") as output:
        server = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, **options
        )
        address = f"http://127.0.0.1:{port}"
        try:
            deadline = time.monotonic() + 90
            while not answers(address + page):
                if server.poll() is not None or time.monotonic() > deadline:
                    output.seek(0)
                    raise RuntimeError(f"the server does not answer:\n{output.read()}")
                time.sleep(0.2)
            yield address
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory) -> Iterator[str]:
    """The URI of a PostgreSQL database on the loopback address."""
    found = shutil.which("initdb") or next(iter(sorted(map(str, POSTGRESQL))), None)
    if found is None:
        pytest.skip("PostgreSQL is not installed")
    binaries, folder, port = (
        Path(found).resolve().parent,
        tmp_path_factory.mktemp("db"),
        closed_port(),
    )
    user = []
    if os.geteuid() == 0:  # which PostgreSQL refuses
        user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        shutil.chown(folder, "nobody", "nogroup")
        for parent in folder.parents[:3]:
            parent.chmod(0o755) if parent != Path("/tmp") else None
    data = folder / "data"
    command = [*user, str(binaries / "initdb"), "-D", str(data), "-U", "parsimony", "-A", "trust"]
    subprocess.run(command, check=True, capture_output=True, cwd="/")
    server = subprocess.Popen(
        [*user, str(binaries / "postgres"), "-D", str(data), "-p", str(port), "-k", str(folder)],
        cwd="/",
        stderr=subprocess.DEVNULL,
    )
    try:
        ready = [str(binaries / "pg_isready"), "-h", "127.0.0.1", "-p", str(port)]
        deadline = time.monotonic() + 30
        while subprocess.run(ready, capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline, "PostgreSQL does not answer"
            time.sleep(0.1)
        yield f"postgresql://parsimony@127.0.0.1:{port}/postgres"
    finally:
        server.send_signal(signal.SIGINT)  # at once, whoever is connected
        server.wait()


def answers(url: str) -> bool:
    try:
        get(url)
    except OSError:
        return False
    return True


def get(url: str, body: bytes | None = None) -> bytes:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.read()
