"""The gate as a build calls it."""

import re
import shlex
import shutil
import sys
from contextlib import redirect_stderr
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import PROJECT, Workplace, one_line, own_conf
from made import DIGEST, make

from experiments.reports.targets import on_github

S13 = [0.9942, 0.9940, 0.9943]


def budgets(output: str) -> list[list[str]]:
    return [line.split() for line in output.splitlines()[1:]]


def test_every_step_holds_its_budget_and_its_published_count(run_here):
    status, output, errors = run_here("gate", "stage=budget")
    assert status == 0, errors
    rows = budgets(output)
    assert [row[0] for row in rows] == [f"s{number:02}" for number in range(1, 15)]
    assert rows[0] == ["s01", "parameters", "40,202", "holds"]
    assert rows[12] == ["s13", "parameters", "at", "most", "6,000", "5,854", "146", "holds"]


def test_a_wrong_width_misses(tmp_path, workplace):
    """In a copy of the project, one width of step 12 is mistyped."""
    shutil.copytree(own_conf(), tmp_path / "conf")
    for folder in ("experiments", "models"):
        shutil.copytree(PROJECT / folder, tmp_path / folder)
    step = tmp_path / "conf" / "step" / "s12.yaml"
    step.write_text(step.read_text().replace("[10, 11, 12, 12, 12]", "[10, 21, 12, 12, 12]"))
    result = workplace.run("gate", "stage=budget", cwd=tmp_path)
    assert result.returncode == 1
    over, changed = result.stderr.splitlines()
    assert over.startswith("s12: 8,054 parameters are 1,554 above 6,500; the largest: ")
    assert changed == (
        "s12: 8,054 parameters, 6,054 were published; for another network, set published=null"
    )
    assert [line.split()[-1] for line in result.stdout.splitlines()].count("holds") == 13


def test_overrides_hold_for_every_step(run_here):
    limits = ("max_parameters=7000", "max_mult_adds=1_300_000")
    status, _, errors = run_here("gate", "stage=budget", *limits)
    assert status == 1
    assert len(errors.splitlines()) == 20  # parameters of 9 steps, multiply-adds of 11


def test_a_user_defined_step_in_five_lines(tmp_path, run_here):
    (tmp_path / "step").mkdir()
    (tmp_path / "step" / "tiny.yaml").write_text(
        "# @package _global_\n"
        "defaults: [s13, _self_]\n"
        "description: narrower still\n"
        "model: {widths: [8, 8, 12, 12, 10]}\n"
        "budget: {parameters: 5_000}\n"
    )
    arguments = ("stage=budget", "step=tiny", "--config-dir", str(tmp_path))
    status, output, errors = run_here("gate", *arguments)
    assert status == 0, errors
    [row] = budgets(output)
    assert row == ["tiny", "parameters", "at", "most", "5,000", "4,888", "112", "holds"]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Workplace:
    """Steps 8 to 13: a seed failed, far too low, too few, other keys, just as asked; a baseline."""
    workplace = Workplace(tmp_path_factory.mktemp("gate"))
    make(workplace.folder, "s13", S13)
    make(workplace.folder, "s12", S13[:2])
    make(workplace.folder, "s11", [0.9902, 0.9899, 0.9903])
    make(workplace.folder, "s10", S13)
    make(workplace.folder, "s10", [0.1], first_seed=3, failed=True)
    make(workplace.folder, "s09", S13, "optimizer.lr=0.03")
    make(workplace.folder, "s08", [0.5])
    row = "{},{},0 1 2,0.9942 0.9940 0.9943," + f"{DIGEST},val/acc\n"
    rows = [row.format(f"step {number}", f"s{number}") for number in (8, 11, 13)]
    baseline = "name,step,seeds,accuracies,digest,metric\n" + "".join(rows)
    (workplace.folder / "baseline.csv").write_text(baseline)
    return workplace


@pytest.fixture
def gate(store, run_here):
    """Run the gate on the store in this process; its status, output and errors."""
    return partial(run_here, "gate", f"tracking.uri={store.uri}")


def test_evidence_that_reaches_every_target_passes(store, gate):
    status, output, errors = gate("step=s13", f"baseline={store.folder}/baseline.csv")
    assert status == 0, errors
    rows = [line.split() for line in output.splitlines()[1:]]
    assert [row[1] for row in rows] == ["parameters", "seeds", "accuracy", "regression"]
    assert {row[-1] for row in rows} == {"holds"}
    assert "99.42 % (99.38 to 99.45)" in output


def test_the_screen_is_as_kept(store, run_here, screen, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)  # whose folder no command then repeats
    with redirect_stderr(sys.stdout):  # as a terminal shows both
        status, output, _ = run_here(
            "gate", "stage=evidence", f"baseline={store.folder}/baseline.csv"
        )
    assert status == 1
    screen("gate", output)


def test_the_ladder_in_evidence_is_a_baseline(gate):
    """Its step 13 has other seeds, with a mean of 99.29 %; its step 11 is better than here."""
    baseline = f"baseline={PROJECT}/evidence/ladder.csv"
    assert gate("stage=evidence", "step=s13", baseline)[0] == 0
    status, _, errors = gate("stage=evidence", "step=s11", "min_accuracy=0.9", baseline)
    assert status == 1
    assert errors.startswith("s11: 0.")


def test_a_baseline_of_other_images_is_none(store, gate, tmp_path):
    text = (store.folder / "baseline.csv").read_text()
    for old, new in ((DIGEST, "bbbbbbbbbbbb"), ("val/acc", "test/acc")):
        (tmp_path / "other.csv").write_text(text.replace(old, new))
        status, _, errors = gate("step=s13", f"baseline={tmp_path}/other.csv")
        assert status == 2
        assert f"other images, or another metric: the baseline was judged by {new}" in errors or (
            f"val/acc on {new}" in errors
        )


@pytest.mark.parametrize(
    ("status", "complaint", "arguments"),
    [
        (1, "the mean, 99.01 %, is 0.39 points below 99.40 %", ["step=s11"]),
        (1, "the lower bound of the mean, 99.38 %, is", ["step=s13", "judged_by=lower_bound"]),
        (
            1,
            "the lowest run, 99.40 %, is",
            ["step=s13", "judged_by=last_epoch", "min_accuracy=.9941"],
        ),
        (1, "5,854 parameters are 54 above 5,800; the", ["step=s13", "max_parameters=5800"]),
        (
            1,
            "s11: 0.40 (0.39 to 0.42) points below the baseline, more than 0.05",
            ["step=s11", "min_accuracy=0.9", "BASELINE"],
        ),
        (
            2,
            "cannot tell whether it is no worse than the baseline by more than 0.05 points: -49.",
            ["step=s08", "min_accuracy=0.4", "min_seeds=1", "BASELINE"],
        ),
        (2, "the baseline has no step 12", ["step=s12", "min_seeds=2", "BASELINE"]),
        (2, "2 finished seeds; train more: python -m experiments.train -m step=s12", ["step=s12"]),
        (2, "step 10, seed 3 failed: train again", ["step=s10"]),
        (2, "0 finished seeds", ["step=s09"]),
        (2, "0 finished seeds", ["step=s13", "optimizer.lr=0.5"]),
    ],
)
def test_what_does_not_hold_is_named(store, gate, status, complaint, arguments):
    baseline = f"baseline={store.folder}/baseline.csv"
    found, _, errors = gate(*[baseline if item == "BASELINE" else item for item in arguments])
    assert found == status, errors
    [line] = errors.splitlines()
    assert complaint in line


def test_the_command_to_train_more_is_of_what_is_judged(gate, tmp_path):
    (tmp_path / "step").mkdir()
    (tmp_path / "step" / "mine.yaml").write_text("# @package _global_\ndefaults: [s13, _self_]\n")
    where = ("--config-dir", str(tmp_path))
    for chosen in ("experiment=dropout_mlp", "step=mine"):
        given = ("optimizer.lr=0.5", "seed=3", "min_seeds=5", "margin=0.01", "data=mnist")
        _, _, errors = gate("stage=evidence", chosen, *given, *where)
        command = errors.partition("train more:")[2].lstrip()
        begin = f"python -m experiments.train -m {chosen} tracking.uri="
        assert command.startswith(begin)
        assert " optimizer.lr=0.5 data=mnist " in command
        assert f"file://{tmp_path}" in command
        assert command.endswith(" 'seed=range(5)'\n")


def test_without_a_seed_the_nearest_runs_of_the_step_are_named(tmp_path, run_here):
    """With overrides of which the gate then judges those runs."""
    make(tmp_path, "s13", S13, "trainer.max_epochs=2", "optimizer.lr=0.03")
    make(tmp_path, "s13", S13[:2], "trainer.max_epochs=2", "model.widths=[10,10,12,12,10]")
    make(tmp_path, "s09", S13, "~augmentation")
    make(tmp_path, "s11", S13)
    gate = partial(
        run_here, "gate", "stage=evidence", f"tracking.uri=sqlite:///{tmp_path}/mlflow.db"
    )
    for given, found in (
        (["step=s13"], "3 seeds of step 13, optimizer.lr=0.03, trainer.max_epochs=2, "),
        (["step=s13", "model.widths=[10,10,12,12,10]"], "2 seeds of step 13, model.widths="),
        (["step=s09"], "3 seeds of step 9, augmentation=null, judged with the overrides"),
    ):
        status, _, errors = gate(*given)
        assert status == 2
        assert f": 0 finished seeds; nearest: {found}" in errors
        pasted = re.search(r", judged with the overrides (.*); train more:", errors)[1]
        _, output, errors = gate(given[0], *shlex.split(pasted))
        assert "0 finished seeds" not in errors and "99.4" in output
    plain = gate("step=s11", "optimizer.lr=0.5")[2]
    assert "nearest: 3 seeds of step 11, which has optimizer.lr=0.019; train more" in plain
    assert "0 finished seeds; train more" in gate("step=s12")[2]


def test_a_build_gets_junit_annotations_and_a_summary(gate, monkeypatch, tmp_path):
    """JUnit's XML, and on GitHub an annotation and a summary; a miss outweighs what is unknown."""
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    status, output, _ = gate("stage=evidence", f"junit={tmp_path}/gate.xml")
    assert status == 1
    suite = ElementTree.parse(tmp_path / "gate.xml").getroot()
    assert suite.get("errors") == "12"  # too few seeds of eleven steps, and a failed one of step 10
    assert suite.get("failures") == "2"  # the accuracies of steps 8 and 11
    assert len(suite.findall(".//testcase")) == int(suite.get("tests"))
    [case] = suite.findall(".//testcase[@classname='s11'][@name='accuracy']")
    assert "0.39 points below" in case.find("failure").get("message")
    line = (
        "::error title=gate%3A s11%2C accuracy::the mean, 99.01 %25, is 0.39 points below 99.40 %25"
    )
    assert line in output.splitlines()
    assert "| s11 | accuracy | the mean at least 99.40 % |" in summary.read_text()


def test_an_empty_store_is_no_evidence(workplace, run_here):
    workplace.client.create_experiment("parsimony")
    status, _, errors = run_here("gate", f"tracking.uri={workplace.uri}", "step=s13")
    assert status == 2
    assert "0 finished seeds" in errors


def test_no_store_is_no_evidence(tmp_path, run_here):
    status, output, errors = run_here("gate", f"tracking.uri=sqlite:///{tmp_path}/none.db")
    assert (status, output) == (2, "")
    assert "there is no such store; train first" in errors
    assert not Path(tmp_path, "none.db").exists()


def test_a_broken_store_is_no_evidence(tmp_path, workplace):
    (tmp_path / "broken.db").write_text("no database at all, but long enough to be looked into")
    result = workplace.run("gate", f"tracking.uri=sqlite:///{tmp_path}/broken.db")
    assert result.returncode == 2
    assert "file is not a database" in one_line(result)


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("stage=accurracy", "stage must be 'budget', 'evidence' or 'all', not accurracy"),
        ("step=s99", "step=s99 does not exist; choose one of s01"),
        ("model.widths=[10,-3]", "model.widths.1 must be at least 1"),
        ("max_parameters=many", "max_parameters must be a whole number"),
        ("target=0.99", "target must be a group of keys, not 0.99; write target.val_acc=0.99"),
        ("min_accuracy=99.4", "min_accuracy must be at most 1, not 99.4"),
        ("judged_by=best", "judged_by must be 'mean', 'lower_bound'"),
        ("baseline=none.csv", "none.csv: No such file or directory"),
    ],
)
def test_what_cannot_be_judged_exits_with_2(gate, argument, complaint):
    status, output, errors = gate("stage=budget" if "widths" in argument else "stage=all", argument)
    assert (status, output) == (2, "")
    [line] = errors.splitlines()
    assert complaint in line


def test_a_summary_that_cannot_be_written_is_a_warning(monkeypatch, capsys):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "/proc/none/summary.md")
    on_github([])
    assert "warning: GITHUB_STEP_SUMMARY=/proc/none/summary.md: No such" in capsys.readouterr().err
