"""What users of Lightning type works as they know it, or is refused in a line.

PYTHONPATH=.:tests python tests/experiments/test_lightning.py    # writes docs/lightning.md anew
"""

import inspect
import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest
import pytorch_lightning as pl
from conftest import PROJECT, configure, quick

from experiments.cli.checks import check
from experiments.cli.config import PLACE
from experiments.cli.errors import UserError
from experiments.cli.keys import CALLBACKS, REFUSED
from experiments.cli.schema import Trainer

PAGE = PROJECT / "docs" / "lightning.md"
KEYS = {field.alias or name: field for name, field in Trainer.model_fields.items()}
FAST = "++trainer.fast_dev_run=true"


class Habit(NamedTuple):
    """A test of the template, our commands for it, and its outcome: "works", or the refusal. RUN
    stands for the id of the run that the command before has trained."""

    test: str
    command: str
    outcome: str = "works"


HABITS = [
    Habit("test_train_fast_dev_run", f"train step=s13 {FAST} ++trainer.accelerator=cpu"),
    Habit(
        "test_train_fast_dev_run_gpu",
        f"train step=s13 {FAST} ++trainer.accelerator=gpu",
        "trainer: No supported gpu backend found",
    ),
    Habit(
        "test_train_epoch_gpu_amp",
        "train step=s13 trainer.max_epochs=1 ++trainer.accelerator=gpu trainer.precision=16-mixed",
        "trainer: No supported gpu backend found",
    ),
    Habit(
        "test_train_epoch_double_val_loop",
        "train step=s13 trainer.max_epochs=1 ++trainer.val_check_interval=0.5",
        "trainer.val_check_interval is not for a run: each epoch ends with a validation",
    ),
    Habit(
        "test_train_ddp_sim",
        "train step=s13 trainer.max_epochs=2 trainer.devices=2 ++trainer.strategy=ddp_spawn",
        "trainer.devices must be 1 or a list, not 2",
    ),
    Habit(
        "test_train_resume",
        "train step=s13 trainer.max_epochs=2 +ckpt_path=last.ckpt",
        "ckpt_path is not for a run: the same command goes on by itself from its last checkpoint",
    ),
    Habit("test_train_eval", "train step=s13 trainer.max_epochs=1 && evaluate run=RUN split=test"),
    Habit("test_experiments", f"train -m 'experiment=glob(*,exclude=kaggle_vgg16)' {FAST}"),
    Habit("test_experiments, kaggle_vgg16", "train experiment=kaggle_vgg16", "over budget: "),
    Habit("test_experiments, all steps", f"train -m 'step=glob(*)' {FAST}"),
    Habit("test_experiments, with a holdout", f"train -m step=s12,s13 data.holdout=200 {FAST}"),
    Habit("test_hydra_sweep", f"train -m step=s13 optimizer.lr=0.005,0.01 {FAST}"),
    Habit(
        "test_hydra_sweep_ddp_sim",
        "train -m step=s13 optimizer.lr=0.005,0.01 trainer.devices=2 ++trainer.strategy=ddp_spawn",
        "trainer.devices must be 1 or a list, not 2",
    ),
    Habit(
        "test_optuna_sweep",
        f"search trials=2 {FAST}",
        "runs on part of their data are no evidence; leave out trainer.fast_dev_run=True",
    ),
    Habit(
        "test_optuna_sweep_ddp_sim_wandb",
        "search trials=2 trainer.devices=2 ++trainer.strategy=ddp_spawn"
        " ++trainer.logger._target_=pytorch_lightning.loggers.WandbLogger",
        "trainer.devices must be 1 or a list, not 2",
    ),
    Habit("test_train_config", "train step=s13 --cfg job --resolve"),
    Habit("test_eval_config", "evaluate run=best --cfg job --resolve"),
    Habit("test_mnist_datamodule", "fetch data=mnist"),
    Habit("debug=fdr", "train step=s13 +trainer.fast_dev_run=true"),
    Habit("debug=default", "train step=s13 trainer.max_epochs=1 +trainer.detect_anomaly=true"),
    Habit(
        "debug=limit",
        "train step=s13 trainer.max_epochs=2 +trainer.limit_train_batches=0.1"
        " +trainer.limit_val_batches=0.5 data.eval_batch_size=100",
    ),
    Habit(
        "debug=limit, too little",
        "train step=s13 trainer.max_epochs=1 +trainer.limit_train_batches=0.001",
        "trainer.limit_train_batches=0.001 is less than one of",
    ),
    Habit("debug=overfit", "train step=s13 trainer.max_epochs=2 +trainer.overfit_batches=3"),
    Habit("debug=profiler", "train step=s13 trainer.max_epochs=1 +trainer.profiler=simple"),
]


def keys_table() -> str:
    """Each argument of Lightning's trainer: whether it works here, and if not, why."""
    lines = ["| key | works | |", "|---|---|---|"]
    for name in inspect.signature(pl.Trainer).parameters:
        if name in KEYS:
            place = PLACE in KEYS[name].metadata
            text = "" if place else "part of what a run is"
            lines.append(f"| `{name}` | yes | {text} |")
        else:
            lines.append(f"| `{name}` | refused | {REFUSED[f'trainer.{name}']} |")
    return "\n".join(lines)


def habits_table() -> str:
    lines = ["| test | command | outcome |", "|---|---|---|"]
    for habit in HABITS:
        lines.append(f"| {habit.test} | `{habit.command}` | {habit.outcome} |")
    return "\n".join(lines)


def page() -> str:
    """docs/lightning.md with its two tables."""
    text = with_table(PAGE.read_text(), "## Every key", keys_table())
    return with_table(text, "## The tests of", habits_table())


def with_table(text: str, heading: str, table: str) -> str:
    """The text with another table in the section of a heading."""
    start = text.index("| ", text.index(heading))
    end = text.find("\n\n", start)
    return text[:start] + table + ("\n" if end == -1 else text[end:])


def test_every_key_of_the_trainer_works_or_is_refused():
    known = {key.removeprefix("trainer.") for key in REFUSED if key.startswith("trainer.")}
    assert not known & set(KEYS)
    assert set(inspect.signature(pl.Trainer).parameters) == known | set(KEYS) - {"_target_"}


def test_the_page_has_the_tables():
    assert PAGE.read_text() == page(), (
        "write it anew: PYTHONPATH=.:tests python tests/experiments/test_lightning.py"
    )


def test_the_module_trains_in_a_plain_trainer(capsys):
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    exec(code, {})
    assert re.search(r"tensor\(0\.\d+\) tensor\(0\.\d+\)", capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.parametrize("habit", HABITS, ids=lambda habit: habit.test)
def test_a_habit(workplace, small, habit):
    for command in habit.command.split(" && "):
        program, *arguments = shlex.split(command.replace("RUN", latest(workplace)))
        multirun = arguments[:1] == ["-m"]
        data = [*quick(small)[1:], *workplace.places]
        if program == "evaluate":
            data = [*data[:2], *workplace.places[:1]]
        if program == "fetch":
            data = []
        result = workplace.run(program, *arguments[:multirun], *data, *arguments[multirun:])
        output = result.stdout + result.stderr
        assert "Traceback" not in output
        if habit.outcome == "works":
            assert result.returncode == 0, output
        else:
            assert result.returncode != 0
            assert habit.outcome in output
            assert not workplace.runs(), "it was refused after it had begun"


def latest(workplace) -> str:
    return next((run.info.run_id for run in workplace.seeds()), "")


def of_one_epoch(workplace, small, *overrides: str):
    result = workplace.run("train", *quick(small, *overrides))
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.parametrize("name", pl.callbacks.__all__)
def test_a_callback_of_lightning_works_or_is_refused(name):
    """A new Lightning cannot add one that trains in another way than its user thinks."""
    target = f"{{_target_: pytorch_lightning.callbacks.{name}, _args_: []}}"
    cfg = configure("train", "step=s13", f"+trainer.callbacks=[{target}]")
    refused = "is not for a run, whose module steps the optimizer by itself"
    if name in CALLBACKS:
        check(cfg, "train")
    else:
        with pytest.raises(UserError, match=f"trainer.callbacks: {name} {refused}"):
            check(cfg, "train")


def test_the_test_images_stop_no_run():
    stop = "+trainer.callbacks={_target_: pytorch_lightning.callbacks.EarlyStopping, monitor: %s}"
    for given in (["val/acc"], ["val/loss"]):
        with pytest.raises(UserError, match="the test images would choose the last epoch; set d"):
            check(configure("train", "step=s13", stop % given[0]), "train")
        check(configure("train", "step=s13", stop % given[0], "data.holdout=5000"), "train")
    check(configure("train", "step=s13", stop % "train/loss"), "train")
    with pytest.raises(UserError, match="the last epoch; leave it out of a search"):
        check(configure("search", stop % "val/acc"), "search")


def test_a_batch_is_a_batch_and_a_run_on_part_of_the_data_is_no_evidence(workplace, small):
    loggers = ", ".join(
        f"{{_target_: pytorch_lightning.loggers.{name}, save_dir: {workplace.folder}}}"
        for name in ("CSVLogger", "TensorBoardLogger")
    )
    callbacks = (
        "{_target_: pytorch_lightning.callbacks.LearningRateMonitor},"
        "{_target_: pytorch_lightning.callbacks.EarlyStopping, monitor: train/acc, mode: max,"
        " patience: 1, min_delta: 0.99},"
        "{_target_: pytorch_lightning.callbacks.ModelCheckpoint, monitor: val/acc, mode: max}"
    )
    screen = of_one_epoch(
        workplace,
        small,
        "trainer.max_epochs=4",
        "+trainer.limit_train_batches=8",
        f"+trainer.callbacks=[{callbacks}]",
        f"+trainer.logger=[{loggers}]",
        "+trainer.limit_val_batches=2",
        "data.eval_batch_size=100",
        "+trainer.log_every_n_steps=1",
    )
    [run] = workplace.seeds()
    assert run.data.tags["partial"] == (limits := "limit_train_batches=8, limit_val_batches=2")
    assert run.data.metrics["val/images"] == 200
    right = round(run.data.metrics["val/acc"] * 200)
    table = workplace.client.download_artifacts(run.info.run_id, "per_class.csv")
    assert Path(table).read_text().splitlines()[-1].startswith(f"mean,{right},200,")
    assert run.data.tags["validated_on"] == "part of the test images"
    assert "(part of the data): trained" in screen
    assert "verdict" not in run.data.tags
    assert f"part of the data only ({limits})" in screen
    assert run.data.metrics["epochs"] == 2, "EarlyStopping ended it"
    [table] = workplace.folder.rglob("metrics.csv")
    steps = [line.split(",") for line in table.read_text().splitlines()]
    assert max(int(row[steps[0].index("step")]) for row in steps[1:]) == 15
    assert list(workplace.folder.rglob("events.out.tfevents.*"))
    compared = workplace.run("compare", f"tracking.uri={workplace.uri}")
    assert "runs on part of their data, not counted: 1\n" in compared.stderr
    assert compared.returncode == 1
    gate = workplace.run(
        "gate", *quick(small), f"tracking.uri={workplace.uri}", "+trainer.limit_train_batches=8"
    )
    assert gate.returncode == 2
    assert "no evidence; leave out trainer.limit_train_batches=8" in gate.stderr


if __name__ == "__main__":
    PAGE.write_text(page())
