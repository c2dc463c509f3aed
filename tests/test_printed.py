"""Every block of commands in README and docs/ is run by bash, as it is printed.

In a copy of the project with its own store and little data. `python`, `pip` and servers are
programs of the copy that hand their arguments to this process, where SHORTER, NOT_TO_ITS_END,
LEFT_OUT and STATUS stand: so the text that bash reads is that of the page. What stands in prose and
in tables is composed and checked by test_docs.py.
"""

import hashlib
import json
import os
import re
import shutil
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import warm
from conftest import ONE_THREAD, PROJECT, own_conf
from mlflow import MlflowClient
from PIL import Image
from test_docs import blocks, written_files

PAGES = [PROJECT / "README.md", *sorted(PROJECT.glob("docs/*.md"))]
SHORTER = (  # what is found in a command, and what is run in its place
    (r"range\(\d+\)(?=.* until_verdict)", "range(3)"),  # it takes three
    (r"range\((5|4|10|12)\)", "range(2)"),
    (r"step=glob\(\*\)", "step=glob(s1*)"),
    (r"fused\.seed=(20|32)", "fused.seed=2"),
    (r"trainer\.max_epochs=\d+", "trainer.max_epochs=1"),
    (r"trials=\d+", "trials=2"),
    (r"data\.holdout=5000", "data.holdout=500"),
    (r"min_seeds=5", "min_seeds=2"),
    (r"data=qmnist", "data=fashion_mnist"),  # which is there
    (r"rounds=3", "rounds=1 batches=2"),
    (r"^experiments\.competition.*", r"\g<0> rows=2000"),
    (r"^experiments\.train .*experiment=kaggle_digits.*", r"\g<0> data.held_out=200"),
    (
        r"^experiments\.search.*",
        r"\g<0> data.holdout=500 final.networks=1 final.seeds=3 final.max_epochs=1",
    ),
    (r"^(experiments\.search)((?!.*trials=).*)", r"\1\2 trials=2 full=1"),
    (r"^(experiments\.search.*trials=2)((?!.*full=).*)", r"\1\2 full=1"),
)
NOT_TO_ITS_END = (  # what is found in a command, and what is added, so that it is read and no more
    (r"^experiments\.ui.*", r"\g<0> --cfg job"),  # tests/experiments/reports/test_page.py opens it
    (r"^mlflow server.*", r"\g<0> --help"),  # tests/experiments/tracking/test_store.py
    (
        r"^optuna-dashboard(.*)",
        r"optuna_dashboard._cli\1 --help",
    ),  # tests/experiments/study/test_storage.py
    (r"^pytest.*", r"\g<0> --collect-only -q -n 0 -p no:cacheprovider"),
)
LEFT_OUT = {  # what is not run, and why
    r"^pip ": "it needs the internet; test_docs.py checks its extras",
    r"^jupyter": "it is not installed; tests/experiments/test_notebook.py runs the notebook",
}
STATUS = {  # other than 0; all else has to end with 0
    r"budget\.parameters=8000": 1,  # the pages say that it stops
    r"trainer\.accelerator=gpu": 1,  # an error where there is none
    r"^experiments\.gate (?!stage=budget)": 1,  # one epoch on little data reaches no target
}
PRESUPPOSED = """
python -m experiments.train -m step=s12,s13 'seed=range(3)' target.val_acc=0.05 launcher=local
python -m experiments.competition
python -m experiments.train experiment=kaggle_digits
"""
PROGRAMS = ("python", "parsimony", "pip", "mlflow", "jupyter", "optuna-dashboard")  # of the copy
PROGRAM = """#!{python} -SE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    request = [os.path.basename(sys.argv[0]), sys.argv[1:], os.getcwd(), dict(os.environ)]
    server.sendall((json.dumps(request) + "\\n").encode())
    status, output, errors = json.loads(server.makefile().readline())
sys.stdout.write(output)
sys.stderr.write(errors)
sys.exit(status)
"""


class Copy:
    """A copy of the project whose programs call this process."""

    def __init__(self, folder: Path, small: Path) -> None:
        self.folder, self.ran, self.run_id = folder, [], ""
        shutil.copytree(own_conf(), folder / "conf")
        md5 = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in small.iterdir()}
        for path in folder.rglob("conf/**/*.yaml"):  # one epoch each, and data that are not mended
            text = re.sub(r"max_epochs: \d+", "max_epochs: 1", path.read_text())
            found = r"([\w-]+-ubyte): \w{32}$"
            path.write_text(re.sub(found, lambda m: f"{m[1]}: {md5[m[1]]}", text, flags=re.M))
        for name in ("experiments", "models", "evidence"):
            shutil.copytree(PROJECT / name, folder / name)
        for name in ("MNIST", "FashionMNIST"):
            shutil.copytree(small, folder / "data" / name / "raw")
        for name in ("Makefile", "pyproject.toml", "constraints.txt"):
            shutil.copy(PROJECT / name, folder)
        (folder / "mlruns").mkdir()
        programs = folder / ".venv" / "bin"
        programs.mkdir(parents=True)
        (programs / "activate").write_text(f"export PATH={programs}:$PATH\n")
        self.address = str(folder / "socket")
        for name in PROGRAMS:
            (programs / name).write_text(
                PROGRAM.format(python=sys.executable, address=self.address)
            )
            (programs / name).chmod(0o755)
        for name in ("installed", "tests"):  # younger than what they depend on
            (folder / ".venv" / name).touch()

    def answer(
        self, program: str, words: list[str], cwd: str, environment: dict[str, str]
    ) -> tuple[int, str, str]:
        """Run what a program was called with: its status, output and errors."""
        if program == "parsimony":
            words = ["-m", "experiments", *words]
        words = words[1:] if words[:1] == ["-m"] else [program, *words]
        words = [word.replace("run=ID", f"run={self.run_id}") for word in words]
        command = "\0".join(words)
        for pattern, reason in LEFT_OUT.items():
            if re.search(pattern, command.replace("\0", " ")):
                return 0, "", f"not run: {reason}\n"
        for pattern, shorter in (*SHORTER, *NOT_TO_ITS_END):
            command = re.sub(pattern.replace(" ", "\0"), shorter.replace(" ", "\0"), command)
        module, *arguments = command.split("\0")
        place = PROJECT if module == "pytest" else Path(cwd)  # the copy has no tests
        result = warm.run(module, arguments, place, environment)
        self.ran.append((" ".join([module, *arguments]), result))
        return result.returncode, result.stdout, result.stderr

    def presuppose(self) -> None:
        """What the pages ask for that a user has: a run, a model that he named, and images."""
        client = MlflowClient(f"sqlite:///{self.folder}/mlruns/mlflow.db")
        [run] = client.search_runs(
            [each.experiment_id for each in client.search_experiments()],
            "params.experiment = 'kaggle_digits' and params.seed = '0'",
        )
        self.run_id = run.info.run_id
        client.create_registered_model("digits")
        client.create_model_version("digits", run.info.artifact_uri, run_id=self.run_id)
        client.set_registered_model_alias("digits", "champion", "1")
        shutil.move(self.folder / "data/digit-recognizer/test.csv", self.folder)
        shutil.rmtree(self.folder / "data/digit-recognizer")
        (self.folder / "FOLDER").mkdir()
        for name in ("photo.jpg", "FOLDER/one.png"):
            Image.new("L", (28, 28)).save(self.folder / name)

    def run(self, block: str) -> list[str]:
        """What of a block of commands ended otherwise than it should."""
        self.ran.clear()
        environment = os.environ | ONE_THREAD | {"PYTHONPATH": str(self.folder)}
        environment |= {"PATH": f"{self.folder}/.venv/bin:{os.environ['PATH']}"}
        for name in ("MLFLOW_TRACKING_URI", "OPTUNA_STORAGE", "DISPLAY"):
            environment.pop(name, None)
        result = subprocess.run(
            ["bash", "-u", "-c", f"trap 'echo \"failed: $BASH_COMMAND\" >&2' ERR\n{block}"],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        wrong = []
        for command, ended in self.ran:
            if ended.returncode != expected(command):
                wrong.append(f"{command}: {ended.returncode}\n{ended.stdout}{ended.stderr}")
        others = rf"^failed: (?!(?:{'|'.join(PROGRAMS)}|make) ).*$"  # such as cd
        wrong += re.findall(others, result.stderr, re.MULTILINE)
        if not self.ran and result.returncode:
            wrong.append(f"{block}{result.stderr}")
        return wrong


def expected(command: str) -> int:
    return next((code for pattern, code in STATUS.items() if re.search(pattern, command)), 0)


@pytest.fixture(scope="module")
def copy(tmp_path_factory, small) -> Iterator[Copy]:
    """The copy, with what pages presuppose: runs, a registered model, files of images."""
    copy = Copy(tmp_path_factory.mktemp("copy"), small)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            answer = copy.answer(*json.loads(self.rfile.readline()))
            self.wfile.write((json.dumps(answer) + "\n").encode())

    with socketserver.UnixStreamServer(copy.address, Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            assert copy.run(PRESUPPOSED) == []
            copy.presuppose()
            yield copy
        finally:
            server.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_run_as_they_are_printed(page, copy):
    for name, content in written_files(page):
        (copy.folder / name).write_text(content)
    wrong = [line for block in blocks(page, "console|bash") for line in copy.run(block)]
    assert not wrong, "\n".join(wrong)
