"""Mistakes at the terminal: one clear line, a non-zero exit, and nothing half-written."""

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from conftest import BEGUN, MNIST, PROJECT, closed_port, own_conf

from experiments.train import main


@pytest.fixture
def complaint_of(workplace, monkeypatch, capsys) -> Callable[..., str]:
    """Runs `train`, which fails; its one line. In this process, as each would take seconds to
    start."""

    def run(*arguments: str) -> str:
        monkeypatch.setattr("experiments.cli.program.CONF", own_conf())
        monkeypatch.setattr(sys, "argv", ["train", *workplace.places, *arguments])
        with pytest.raises(SystemExit) as exit:
            main()
        output, errors = capsys.readouterr()
        assert (exit.value.code, output) == (1, "")
        errors = BEGUN.sub("", errors)
        assert len(errors.splitlines()) == 1, errors
        assert not workplace.runs()
        return errors

    return run


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (
            [],
            "without a step, this would train LadderNet on MNIST for 14 epochs; choose step=s13",
        ),
        (["seed=3", "fused.seed=2", "force=true"], "without a step, this would train LadderNet"),
        (
            ["optimizer.lr=0.03", "data=fashion_mnist", "trainer.max_epochs=3"],
            "without a step, this would train LadderNet on FashionMNIST for 3 epochs; choose",
        ),
        (["step=s99"], "step=s99 does not exist; choose one of s01, s02"),
        (
            ["data=mnits"],
            "data=mnits does not exist; choose one of csv, emnist, fashion_mnist",
        ),
        (["sead=1"], "there is no key sead in the configuration; did you mean seed?"),
        (["lr=0.1"], "there is no key lr in the configuration; did you mean optimizer.lr?"),
        (["+epochs=3"], "there is no key epochs in the configuration; did you mean trainer.max_e"),
        (["step=13", "scheduler.gama=1"], "scheduler.gama in the configuration; did you mean s"),
        (["device=cpu"], "there is no key device in the configuration; did you mean trainer.acc"),
        (["gpu=1"], "there is no key gpu in the configuration; did you mean trainer.accelerator?"),
        (["seed=0,1"], "seed=0,1 has several values; add -m to run each"),
        (["step=s12,s13"], "step=s12,s13 has several values; add -m to run each"),
        (["num_workers=4"], "num_workers is not for a run: the images stay on the device"),
        (["bs=64"], "there is no key bs in the configuration; did you mean data.batch_size?"),
        (["trainer.fast_dev_run=2"], "has no value so far; write +trainer.fast_dev_run=VALUE"),
        (["trials=2"], "there is no key trials in the configuration; "),  # of search
        (["batch=64"], "there is no key batch in the configuration; did you mean data.batch_size?"),
        (["dataset=csv"], "there is no key dataset in the configuration; did you mean data?"),
        (["accuracy=0.99"], "no key accuracy in the configuration; did you mean target.val_acc?"),
        (["early_stopping=3"], "EarlyStopping is one of +trainer.callbacks; see docs/"),
        (["threads=4"], "threads is not for a run: set the environment variable OMP_NUM_TH"),
        (["target=0.99"], "target must be a group of keys, not 0.99; write target.val_acc=0.99"),
        (["budget=5000"], "must be a group of keys, not 5000; write budget.parameters=5000"),
        (["fused=4"], "fused must be a group of keys, not 4; write fused.seed=4"),
        (["checkpoints=a b"], "not a b (text); write 'checkpoints.root=a b'"),
        (["optimizer=0.01"], "optimizer=0.01 does not exist; choose one of adam, sgd"),
        (["augmentation=true"], "augmentation=true does not exist; choose one of affine, blur"),
        (["seed=range(3"], "seed must be a whole number, not range(3 (text)"),
        (["seed"], "seed is not understood; write seed=VALUE"),
        (["step=s13", "lr"], "lr is not understood; write optimizer.lr=VALUE"),
        (["step=s13", "epochs"], "epochs is not understood; write trainer.max_epochs=VALUE"),
        (["13"], "13 is not understood; write step=s13"),
        (["s13"], "s13 is not understood; write step=s13"),
        (["hand"], "hand is not understood; write step=found/hand"),
        (["step"], "step is not understood; write step=VALUE"),
        (["tpe"], "tpe is not understood; write KEY=VALUE"),  # a choice of search
        (["rotation=7"], "did you mean augmentation.degrees?"),
        (["step=null"], "without a step, this would train LadderNet on MNIST"),
        (["--epochs", "3"], "--epochs is not understood; write trainer.max_epochs=VALUE"),
        (["step=s13", "--lr=0.1"], "--lr=0.1 is not understood; write optimizer.lr=0.1"),
        (["step=s13", "--lr=1e-3"], "--lr=1e-3 is not understood; write optimizer.lr=1e-3"),
        (["--num-workers=4"], "num_workers is not for a run: the images stay on the device"),
        (["--foo"], "--foo is not understood; write KEY=VALUE"),
        (["STEP=13"], "there is no key STEP in the configuration; did you mean step?"),
        (["step=s13", "adam=true"], "did you mean optimizer?"),
        (["step=s13", "channels=8"], "did you mean model.widths?"),
        (["step=s13", "workers=3"], "workers is not for a run: the images stay on the device"),
        (["xyzzy"], "xyzzy is not understood; write KEY=VALUE"),
        (["--config-name=search"], "--config-name: leave it out; each command has its own"),
        (["--experimental-rerun=none.pickle"], "File none.pickle does not exist!"),
        (["-m", "--cfg=job"], "Only one of --run, --multirun, --cfg"),
        (["-m", "scheduler=null,step"], "a sweep cannot choose null; give ~scheduler in a command"),
        (
            ["hydra.mode=MULTIRUN", "hydra.job.chdir=true"],
            "would make a store for each run; leave it out",
        ),
        (["step=s13", "hydra.job.chdir=true"], "a store for each run; leave it out"),
        (["step=s13", "+trainer.strategy=ddp_spawn"], "trainer.strategy must be 'auto', not ddp_"),
        (["model.withs=[1]"], "there is no key model.withs in the configuration; did you mean"),
        (["step=s13", "seed=-1"], "seed must be at least 0, not -1"),
        (["step=s13", "seed=one"], "seed must be a whole number, not one"),
        (["data.batch_size=0"], "data.batch_size must be at least 1, not 0"),
        (["data.batch_size=1.5"], "data.batch_size must be a whole number, not 1.5"),
        (
            ["step=13", "+trainer.min_epochs=5", "trainer.max_epochs=1"],
            "trainer.min_epochs=5 is above trainer.max_epochs=1",
        ),
        (["trainer.max_epochs=0"], "trainer.max_epochs must be at least 1, not 0"),
        (["data.std=0"], "data.std must be above 0, not 0"),
        (["target.val_acc=99.4"], "target.val_acc must be at most 1, not 99.4"),
        (["budget.parameters=-5"], "budget.parameters must be at least 1, not -5"),
        (["model.widths=[10,-1]"], "model.widths.1 must be at least 1, not -1"),
        (["model.widths=[10,0]"], "model.widths.1 must be at least 1, not 0"),
        (["model.widths=[10,2.5]"], "model.widths.1 must be a whole number, not 2.5"),
        (["model.widths=[9,9,9,9,9,9,9]"], "model: 7 widths do not fit an image of 28x28"),
        (["model.dropout=1.5"], "model.dropout must be below 1, not 1.5"),
        (["+model.droput=0.5"], "no key model.droput in the configuration; did you mean mod"),
        (
            ["step=s13", "augmentation.degrees=-3"],
            "augmentation.degrees must be at least 0, not -3",
        ),
        (["step=s13", "optimizer.lr=-1"], "optimizer: Invalid learning rate: -1"),
        (["step=s13", "scheduler.step_size=0"], "scheduler.step_size must be at least 1, not 0"),
        (["compile=maybe"], "compile must be 'auto' or true or false, not maybe"),
        (["fused.seed=0"], "fused.seed must be at least 1 or a list, not 0"),
        (
            ["fused.seed=[]"],
            "fused.seed must be a whole number or a list of at least 1, not [] (a list)",
        ),
        (["fused.lr=0.01"], "fused.lr must be a list, not 0.01"),
        (["step=s13", "fused.lr=[0.1,-1]"], "optimizer: Invalid learning rate: -1"),
        (
            ["step=13", "fused.dropout=[0,0.1]"],
            "fused.dropout: a network without dropout is another one",
        ),
        (["step=s01", "budget.parameters=8000"], "over budget: 40,202 parameters"),
        (["loss=hinge"], "loss=hinge does not exist; choose one of cross_entropy, distillation"),
        (
            ["step=s13", "loss=squared_error", "loss.gradient=all"],
            "loss.gradient must be 'mean' or 'sum', not",
        ),
        (["model=mlp", "model.activation=swoosh"], "model.activation must be 'relu', 'sigm"),
        (["model=convnet", "model.kernels=[5]"], "model: widths, kernels and paddings must have o"),
        (
            ["step=s13", "trainer.precision=16-mixed", "trainer.accelerator=cpu"],
            "trainer.precision=16-mixed is for a CUDA GPU, not for cpu; choose 32-t",
        ),
        (["trainer.precision=bf16-true"], "trainer.precision must be '32-true', 'bf16-mixed' or"),
        (["step=s13", "tf32=true", "trainer.accelerator=cpu"], "tf32=true needs an NVIDIA GPU"),
        (["tf32=false"], "tf32 must be true or null, not false"),
        (
            [
                "step=s13",
                "fused.seed=2",
                "+trainer.callbacks={_target_: pytorch_lightning.callbacks.EarlyStopping,"
                " monitor: train/acc}",
            ],
            "fused: trainer.callbacks would act on all runs at once",
        ),
        (
            ["step=13", "fused.seed=2", "trainer.precision=bf16-mixed"],
            "fused trains in 32-true, not in",
        ),
        (["data.classes=0"], "data.classes must be a list, not 0"),
        (["data.classes=[zero]"], "data.classes.0 must be a whole number, not zero"),
        (["data.shuffle=maybe"], "data.shuffle must be true or false, not maybe"),
        (["experiment=zero_vs_fife"], "experiment=zero_vs_fife does not exist; choose one of drop"),
        (["experiment=zero_vs_five", "point=[1e-3]"], "point[1]"),
        (["tracking.uri=http://me:secret@host"], "me:***@host: a password does not belong on"),
        (["experiment=kaggle_vgg16"], "over budget: 15,466,209,280 mult_adds, budget.mult_adds al"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_in_the_configuration(workplace, arguments, complaint, complaint_of):
    assert complaint in complaint_of(*arguments)
    assert not (workplace.folder / "checkpoints").exists()


def test_the_traceback_is_shown_if_asked_for(run_here, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    for mistake in ("sead=1", "seed=-1"):
        status, _, errors = run_here("train", mistake)
        assert status == 1
        assert errors.startswith("Traceback (most recent call last):")
        assert errors.splitlines()[-1].startswith("error: ")


def test_over_budget_names_limit_count_excess_and_layers_before_anything_slow_is_imported():
    slow = "{'mlflow', 'sqlalchemy', 'pytorch_lightning', 'scipy'}"
    code = (
        "import sys; from experiments.train import main\n"
        f"try: main()\nfinally: print(*{slow} & set(sys.modules))"
    )
    settings = ("step=s01", "budget.parameters=8000", "data.root=/nowhere", "tracking.uri=nonsense")
    result = subprocess.run(
        [sys.executable, "-c", code, *settings],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (1, "\n")
    assert "40,202 parameters, budget.parameters allows 8,000, 32,202 too many" in result.stderr
    assert "largest layers: conv2 (Conv2d) 9,248" in result.stderr
    begun, _ = result.stderr.splitlines()
    assert begun == "step 1, seed 0: 19 epochs on MNIST", "it says first what it would do"


@pytest.mark.parametrize(
    ("accelerator", "complaint"),
    [
        pytest.param(
            "gpu",
            "trainer: No supported gpu backend found",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one"),
        ),
        ("abacus", "trainer.accelerator must be 'auto', 'cpu'"),
    ],
)
def test_an_accelerator_that_is_not_there(complaint_of, accelerator, complaint):
    # before images and store are looked at, so also where the run has finished
    places = ("data=idx", "data.root=/nowhere", "tracking.uri=nonsense")
    assert complaint in complaint_of("step=s13", f"trainer.accelerator={accelerator}", *places)


@pytest.mark.parametrize(
    ("uri", "complaint"),
    [
        ("http://127.0.0.1:{port}", "cannot be used"),
        ("postgresql://user:secret@127.0.0.1:{port}/runs", "user:***@127.0.0.1"),
        ("sqlite:////dev/null/mlflow.db", "cannot be used: [Errno 17] File exists"),
        ("sqlite:///{folder}/text.db", "file is not a database"),
        ("mlruns", "is no address of a store; write sqlite:///mlruns/mlflow.db"),
        ("ftp://somewhere", "cannot be used"),
    ],
)
def test_a_tracking_store_that_does_not_answer(
    workplace, uri, complaint, complaint_of, monkeypatch
):
    (workplace.folder / "text.db").write_text("not a database, " * 100)
    uri = uri.format(port=closed_port(), folder=workplace.folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)  # from where a password is accepted
    line = complaint_of("step=s13", f"data.root={MNIST.parents[1]}", f"tracking.uri={uri}")
    assert complaint in line
    assert "secret" not in line
    assert not (workplace.folder / "checkpoints").exists()


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["data.num_classes=5"], "data.num_classes is 5, but the labels"),
        (["data.image_size=32"], "are (1, 28, 28) (channels, rows, columns), not (1, 32, 32)"),
        (["data.root=/nowhere"], "/nowhere: has no file train-images"),
    ],
)
def test_images_that_are_not_what_the_configuration_says(small, overrides, complaint, complaint_of):
    assert complaint in complaint_of("step=s13", "data=idx", f"data.root={small}", *overrides)
