"""The gate as a build calls it."""

import shutil

import pytest
from conftest import PROJECT, one_line


def test_every_step_holds_its_budget_and_its_published_count(workplace):
    result = workplace.run("gate", "stage=budget")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()[1:]
    assert [line.split()[0] for line in lines] == [f"s{number:02}" for number in range(1, 14)]
    assert all(line.split()[1] == line.split()[2] for line in lines)  # ours, published
    assert lines[12].split() == ["s13", "5,854", "5,854", "6,000", "146", "holds"]


def test_a_wrong_width_misses(tmp_path, workplace):
    """In a copy of the project, one width of step 12 is mistyped."""
    for folder in ("conf", "experiments", "models"):
        shutil.copytree(PROJECT / folder, tmp_path / folder)
    step = tmp_path / "conf" / "step" / "s12.yaml"
    step.write_text(step.read_text().replace("[10, 11, 12, 12, 12]", "[10, 21, 12, 12, 12]"))
    result = workplace.run("gate", "stage=budget", cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        "s12: 8,054 parameters, budget.parameters allows 6,500, 1,554 too many",
        "s12: 8,054 parameters, 6,054 were published",
    ]
    assert [line.split()[-1] for line in result.stdout.splitlines()].count("holds") == 12


def test_overrides_hold_for_every_step(workplace):
    result = workplace.run("gate", "budget.parameters=7000")
    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 9  # steps 1 to 9


def test_a_step_of_ones_own_in_five_lines(tmp_path, workplace):
    (tmp_path / "step").mkdir()
    (tmp_path / "step" / "tiny.yaml").write_text(
        "# @package _global_\n"
        "defaults: [s13, _self_]\n"
        "description: narrower still\n"
        "model: {widths: [8, 8, 12, 12, 10]}\n"
        "budget: {parameters: 5_000}\n"
    )
    result = workplace.run("gate", "step=tiny", "--config-dir", str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[1].split() == ["tiny", "4,888", "-", "5,000", "112", "holds"]


@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("stage=accurracy", "stage=accurracy does not exist; choose budget"),
        ("step=s14", "step=s14 does not exist; choose one of s01"),
        ("model.widths=[10,-3]", "widths must be positive integers"),
        ("budget.parameters=many", "budget.parameters must be a whole number"),
    ],
)
def test_what_cannot_be_judged_exits_with_2(workplace, argument, complaint):
    result = workplace.run("gate", argument)
    assert result.returncode == 2
    assert complaint in one_line(result)
