"""Verdicts from a store: the table, the files, and what is said to bad questions."""

import csv
import io
import subprocess
import sys
from contextlib import redirect_stderr
from pathlib import Path

import pytest
from conftest import Workplace
from made import DIGEST, make

from experiments.reports.evidence import read_scores

S10, S12 = [0.9931, 0.9929, 0.9933, 0.9930], [0.9901, 0.9903, 0.9899, 0.9902]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Workplace:
    """Steps 10, 12 and 13, of which 12 is worse; a variation; and a seed that failed."""
    workplace = Workplace(tmp_path_factory.mktemp("compare"))
    make(workplace.folder, "s13", [0.9932, 0.9928, 0.9935], first_seed=7)
    make(workplace.folder, "s13", [0.99], first_seed=5, failed=True)
    make(workplace.folder, "s12", S12)
    make(workplace.folder, "s10", S10, keeps=True)
    make(workplace.folder, "s10", [0.95], first_seed=3)  # trained again: the latest counts
    make(workplace.folder, "s10", S10[3:], first_seed=3, keeps=True)
    make(workplace.folder, "s13", [0.9942, 0.9939, 0.9944], "optimizer.lr=0.03", first_seed=7)
    return workplace


@pytest.fixture(scope="module")
def compared(store):
    """What the command printed, and the three files that it wrote."""
    files = {kind: store.folder / "made" / f"report.{kind}" for kind in ("html", "markdown", "csv")}
    arguments = [f"{kind}={path}" for kind, path in files.items()]
    result = store.run("compare", f"tracking.uri={store.uri}", *arguments)
    assert result.returncode == 0, result.stderr
    return result, {kind: path.read_text() for kind, path in files.items()}


def test_one_seed_each_is_no_comparison_and_the_command_says_what_is(tmp_path, run_here):
    for rate in (1, 2):
        make(tmp_path, "s13", [0.99], f"optimizer.lr=0.0{rate}")
    _, _, errors = run_here("compare", f"tracking.uri=sqlite:///{tmp_path}/mlflow.db")
    assert errors.splitlines() == [
        "against=first compares all with step 13, optimizer.lr=0.01",
        "2 networks with one seed, which tells no difference: train with 'seed=range(5)'",
    ]


def test_the_table_has_the_verdicts_in_the_order_of_the_ladder(compared):
    result, _ = compared
    first, _, _, *lines = result.stdout.splitlines()
    assert first == (
        "The smallest network that holds its target: none yet, because targets are missed by "
        "2 networks and open for 2 networks. The nearest is step 13, optimizer.lr=0.03, "
        "with 5,854 parameters: "
        "99.42 % (99.35 to 99.48), n = 3 "
        "(target when it was last trained: 99.40 %)."
    )
    rows = [" ".join(line.split()) for line in lines[:4]]
    assert rows[0] == (
        "step 10 5,854 99.31 % (99.28 to 99.33) 4 none before it 99.17 to 99.42 99.38 % 1,283,976"
    )
    assert "4 -0.30 (-0.35 to -0.24) worse than step 10 worse" in rows[1]
    assert rows[1].endswith("model.widths=[10,11,12,12,12]")
    assert "better than step 12 better holds 2" in rows[2]
    assert "3 +0.10 (+0.08 to +0.12) better than step 13 better" in rows[3], (
        "against what it varies"
    )
    assert rows[3].endswith("optimizer.lr=0.03"), "not the text of another step"
    assert result.stderr.splitlines() == ["step 13, seed 5 failed, and is not counted"]


@pytest.mark.parametrize("against", ["13", "s13", "step=s13", "step=13", "step 13"])
def test_a_step_may_be_named_in_every_way_that_people_do(store, run_here, against):
    status, output, errors = run_here(
        "compare", f"tracking.uri={store.uri}", f"against={against}", "attach=false"
    )
    assert status == 0, errors
    assert "worse than step 13" in output


def test_the_screen_is_as_kept(store, run_here, screen):
    with redirect_stderr(sys.stdout):  # as a terminal shows both
        status, output, _ = run_here("compare", f"tracking.uri={store.uri}")
    assert status == 0
    screen("compare", output)


def test_the_csv_has_every_figure_and_can_be_read_again(compared, tmp_path):
    _, files = compared
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(files["csv"]))}
    assert list(rows) == ["step 10", "step 12", "step 13", "step 13, optimizer.lr=0.03"]
    assert float(rows["step 10"]["mean"]) == pytest.approx(sum(S10) / 4, abs=1e-6)
    assert rows["step 12"]["verdict"] == "worse"
    assert rows["step 12"]["no_worse"] == "fails"
    assert float(rows["step 12"]["p_holm"]) > float(rows["step 12"]["p"])
    assert rows["step 12"]["images_low"] == "", "its runs did not keep what they got wrong"
    assert float(rows["step 10"]["images_low"]) < float(rows["step 10"]["low"])
    assert rows["step 13"]["seeds"] == "7 8 9"
    (tmp_path / "again.csv").write_text(files["csv"])
    found = read_scores(tmp_path / "again.csv")["step 12"]
    assert found.scores == {str(seed): value for seed, value in enumerate(S12)}
    assert found.judged_on == (DIGEST, "val/acc")


def test_what_other_images_judged_stands_apart(tmp_path, run_here):
    """Each part has its sentence, its table and, on the page, its front."""
    clothes = {"digest": "bbbbbbbbbbbb"}
    make(tmp_path, "s09", [0.8801, 0.8805, 0.8802], "data=fashion_mnist", **clothes)
    make(tmp_path, "s12", [0.9951, 0.9953, 0.9952])
    make(tmp_path, "s13", [0.9931, 0.9932, 0.9930])
    make(tmp_path, "s14", [0.8831, 0.8832, 0.8830], "data=fashion_mnist", **clothes)
    page, place = tmp_path / "report.html", f"tracking.uri=sqlite:///{tmp_path}/mlflow.db"
    status, output, errors = run_here("compare", place, f"html={page}", "attach=false")
    assert status == 0, errors
    assert output.count("The smallest network that holds its target") == 2
    assert "is step 12, with" in output
    first, second = output.index("on FashionMNIST (bbbbbbbbbbbb)"), output.index("on MNIST (")
    for part, there in ((output[first:second], True), (output[second:], False)):
        assert ("\nstep 14, data=fashion_mnist" in part) == there
        assert ("\nstep 13" in part) == (not there)
    text = page.read_text()
    assert text.count("<h2>Accuracy against size</h2>") == text.count("<h2>Verdicts</h2>") == 2


def test_the_markdown_is_a_table_for_a_pull_request(compared):
    lines = compared[1]["markdown"].splitlines()
    assert lines[0].startswith("The smallest network that holds its target: ")
    assert lines[2].startswith("| network | parameters | accuracy, 95 % interval |")
    assert [line.count("|") for line in lines[2:8]] == [lines[2].count("|")] * 6
    assert lines[-1].endswith("Trained on cpu (some processor).")


def test_the_page_is_with_the_parent_runs_and_so_is_the_verdict(store, compared):
    page = compared[1]["html"]
    assert page.count("<svg") == 6, "three charts, each for a wide and for a narrow window"
    assert page.count("data:image/png;base64,") == 40, "the most that are shown"
    assert len(page) < 1_500_000
    parents = [run for run in store.runs() if "seeds" in run.data.metrics]
    assert len(parents) == 4
    for parent in parents:
        files = [file.path for file in store.client.list_artifacts(parent.info.run_id)]
        assert files == ["report.html"]
        path = store.client.download_artifacts(parent.info.run_id, files[0], str(store.folder))
        assert Path(path).read_text(encoding="utf-8") == page
    tags = {run.info.run_name: run.data.tags for run in parents}
    assert tags["step 12"]["verdict.difference"] == "worse: -0.30 (-0.35 to -0.24) against step 10"
    assert tags["step 12"]["verdict"] == "misses 99.40 %: 99.01 % (98.99 to 99.04), 4 seeds"
    note = tags["step 12"]["mlflow.note.content"]
    assert "between steps 10 and 11" in note
    assert "Target: at most 6,500 parameters, 99.40 % after the last epoch." in note
    assert "99.35 % after the last epoch, 99.40 % after the best" in note


def test_any_runs_can_be_grouped_by_any_parameter(store, run_here):
    question = ("group=[optimizer.lr]", "filter='params.step = \"s13\"'", "against=first")
    status, output, errors = run_here("compare", f"tracking.uri={store.uri}", *question)
    assert status == 0, errors
    one, other = (" ".join(line.split()) for line in output.splitlines()[3:5])
    assert one.startswith("optimizer.lr=0.019 5,854")
    assert other.startswith("optimizer.lr=0.03")
    assert "better" in other


def test_rows_that_hold_several_networks_are_told(store, run_here):
    whole = ("compare", f"tracking.uri={store.uri}", "group=[optimizer.lr]", "against=first")
    told = "runs of one row differ in model.widths: add that to group=, or choose runs by filter="
    assert told in run_here(*whole)[2].splitlines()
    assert "differ in" not in run_here(*whole, "filter='params.step = \"s13\"'")[2]


def test_a_comparison_of_some_runs_leaves_the_verdicts_of_parents(store, compared, run_here):
    def verdicts():
        tags = {run.info.run_id: run.data.tags for run in store.runs()}
        return {run: found.get("verdict.difference") for run, found in tags.items()}

    before = verdicts()
    question = ("against=first", f"html={store.folder}/other.html")
    status, _, errors = run_here("compare", f"tracking.uri={store.uri}", *question)
    assert status == 0
    assert "other.html is not added to the runs in MLflow, whose report is" in errors
    assert "without against" in errors
    assert verdicts() == before


@pytest.mark.parametrize(
    ("question", "complaint"),
    [
        (
            "filter=sizes",
            "the filter sizes is invalid: Invalid clause(s) in filter string: 'sizes'",
        ),
        (
            "filter='params.step = \"s99\"'",
            "no finished run with an accuracy in experiment parsimony",
        ),
        (
            "filter=optimizer.lr > 0.01",
            "the filter optimizer.lr > 0.01 is invalid: parameters and tags are texts, which are "
            "compared with = and != only; write filter=\"params.optimizer.lr = '0.01'\"",
        ),
        (
            "filter=val/acc > 0.5 and params.optimizer.lr <= '0.01'",
            "`val/acc\\` > 0.5 and params.optimizer.lr = '0.01'\"",
        ),
        ("filter=seed > 3", 'texts, which are compared with = and != only; write filter="params.s'),
        ("metric=val/loss", "metric must be 'val/acc', 'val/best_acc', 'train/acc' or 'test/acc'"),
        ("group=[optimizer.rate]", "group: no run has a parameter optimizer.rate; did you mean"),
        ("group=[lr]", "group: no run has a parameter lr; did you mean optimizer.lr?"),
        ("filter=\"params.stp = 's13'\"", "filter: no run has a parameter stp; did you mean step?"),
        ("group=optimizer.lr", "group must be a list, not optimizer.lr"),
        ("step=s13", "compare takes no step=; choose runs by filter=\"params.step = 's13'\""),
        ("margin=0", "margin must be above 0, not 0"),
        ("smallest_difference=2", "smallest_difference must be below 1, not 2"),
        ("against=14", "against=14: choose one of previous, first, 'step 10', "),
        ("against=step 14", "against=step 14: choose one of previous, first, 'step 10', "),
        ("tracking.experiment=parsimonious", "tracking.experiment=parsimonious is not in"),
        ("tracking.uri=sqlite:////tmp/no/such.db", "there is no such store; train first"),
        ("csv=/proc/report.csv", "/proc/report.csv: cannot be written: "),
        ("csv=/dev/null/report.csv", "/dev/null/report.csv: cannot be written: "),
    ],
)
def test_a_bad_question_gets_one_clear_line(store, run_here, question, complaint):
    status, _, errors = run_here("compare", f"tracking.uri={store.uri}", question)
    assert status == 1
    assert complaint in errors.strip().splitlines()[-1]
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    "typed",
    [
        "params.step=s13",  # the shell took its quotes
        "params.step is s13",
        "params.step=s13 AND metrics.seeds==1",
        "metrics.val/acc > 0.5 and params.optimizer.lr == '0.019'",
        "step=s13",  # without the kind of what is compared
        "step=13",
        "val/acc > 0.5 and optimizer.lr=0.019 and device=cpu and status=FINISHED",
    ],
)
def test_the_filter_that_is_suggested_can_be_pasted(store, run_here, typed):
    status, _, errors = run_here("compare", f"tracking.uri={store.uri}", f"filter={typed}")
    assert status == 1
    assert errors.startswith(f"error: the filter {typed} is invalid; write filter=")
    bash = ["bash", "-c", f"printf %s {errors.strip().partition('; write ')[2]}"]
    pasted = subprocess.run(bash, capture_output=True, text=True, check=True).stdout
    status, _, errors = run_here("compare", f"tracking.uri={store.uri}", pasted)
    assert "invalid" not in errors
    assert (status == 0) == ("seeds" not in typed)  # of parents, which are not compared


def test_a_long_name_is_folded_and_no_column_loses_a_figure(workplace, run_here, screen):
    make(workplace.folder, "s12", S12)
    make(workplace.folder, "s13", S10)
    keys = ("data.batch_size=128", "model.widths=[8,8,12,12,10]", "optimizer.lr=0.03")
    for step, accuracies in (("s12", S12), ("s13", S10)):
        make(workplace.folder, step, accuracies, *keys)
    status, output, _ = run_here("compare", f"tracking.uri={workplace.uri}")
    assert status == 0
    screen("compare-long", output)
    told = " ".join(output.split())
    assert told.count(f"what changed: {', '.join(keys)}; ") == 1
