"""Texts of any origin command no output."""

import csv
import io
from xml.etree import ElementTree

import pandas as pd
import pytest

from experiments.cli import tables
from experiments.cli.text import printable
from experiments.reports import table
from experiments.reports.targets import HEADER, RIGHT, Check, junit
from experiments.training.progress import ProgressLine

NASTY = "a [red]b[/b] :smile: \x1b[31m"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s13, widths=[8,8] 7°", "s13, widths=[8,8] 7°"),
        ("\x1b[31mred\x00", "\\x1b[31mred\\x00"),
        ("x\n::error::y", "x \\::error::y"),
        ("torch::jit", "torch::jit"),
        ("\ud800\u202e", "\\ud800\\u202e"),
    ],
)
def test_a_text_is_one_printable_line(text, expected):
    assert printable(text) == expected


def test_a_table_and_a_progress_bar_show_markup_as_it_is(capsys):
    shown = "a [red]b[/b] :smile: \\x1b[31m"
    tables.show(["name"], [[NASTY]])
    assert shown in capsys.readouterr().out
    line = ProgressLine(NASTY)
    with line.bar.console.capture() as found:
        line.bar.console.print(line.bar.columns[0].render(line.bar.tasks[0]))
    assert shown in found.get()


def test_markdown_has_no_html_and_no_links():
    text = tables.to_markdown(["name"], [["<img src=x> [a](b)|[8,8]"]])
    assert text.splitlines()[-1] == "| &lt;img src=x&gt; \\[a](b)\\|[8,8] |"


def test_csv_has_no_formulas_and_keeps_numbers():
    names = ["=1+1", "@x", "'=x", "-", "plain", "'quoted'"]
    text = tables.to_csv(pd.DataFrame({"name": names, "x": -1.5}))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["name"][0] for row in rows] == ["'", "'", "'", "'", "p", "'"]
    assert [tables.restored(row["name"]) for row in rows] == names
    assert {row["x"] for row in rows} == {"-1.5"}


def test_junit_with_control_characters_is_xml(tmp_path):
    junit([Check(NASTY, "seeds", "", "\x00", "", "\x1b\ufffe")], tmp_path / "junit.xml")
    assert ElementTree.parse(tmp_path / "junit.xml").find(".//failure").get("message")


@pytest.mark.parametrize("columns", [20, 64, 110, 200])
def test_a_table_fits_and_tells_below_a_row_what_has_no_room_in_it(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    header = ("network", "accuracy", "verdict", "much", "more")
    name = "step 13, model.widths=[10,10,12,12,12], optimizer.lr=0.03"
    text = " ".join(["words"] * 9)
    rows = [(name, "99.31 % (99.28 to 99.33)", "cannot tell", text, text)]
    tables.show(header, rows, right=("accuracy",), lesser=("more", "much"))
    output = capsys.readouterr().out
    assert max(map(len, output.splitlines())) <= columns
    assert "…" not in output
    assert (f"more: {text}" in " ".join(output.split())) == (columns < 120)
    assert (f"more: {text}; much: {text}" in " ".join(output.split())) == (columns < 80)
    if columns > 20:  # that is narrower than its longest words
        assert "(99.28 to 99.33)" in output
        assert all(part in output for part in name.split())


def test_a_long_name_is_folded_and_no_other_column_below_its_words(monkeypatch, capsys):
    """80 columns, where each column lost a character in turn, and `n` its only one."""
    monkeypatch.setenv("COLUMNS", "80")
    name = "step 13, data.batch_size=128, model.widths=[8,8,12,12,10], optimizer.lr=0.03"
    header = ("network", "parameters", "accuracy, 95 % interval", "n", "difference", "verdict")
    figures = ("5,854", "99.31 % (99.28 to 99.33)", "4", "+0.30 (+0.24 to +0.35)", "cannot tell")
    tables.show(header, [(name, *figures)], right=header[1:5])
    output = capsys.readouterr().out
    assert max(map(len, output.splitlines())) <= 80
    words = " ".join(header + figures).replace(" (", "  (")
    assert all(part in output for part in words.split()), "whole"
    column = "".join(line[:18].strip() for line in output.splitlines()[2:])
    assert column.replace(" ", "") == name.replace(" ", "")


@pytest.mark.parametrize("columns", [80, 110, 200])
def test_a_name_is_whole_and_lesser_columns_give_way(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(columns))
    name, figure = "step 13, optimizer.lr=0.03", "+0.10 (+0.08 to +0.12)"
    texts = ("5,854", "99.42 %", "3", figure, "better than step 12", "better", "holds")
    texts += ("2 to confirm", "99.17 to 99.42", "99.35 %", "1,283,976", "model.widths=[10,11,12]")
    tables.show(table.ON_SCREEN, [(name, *texts)], table.RIGHT, table.LESSER)
    asked = "no worse than the baseline by more than 0.05 points"
    tables.show(HEADER, [(name, "regression", asked, figure, "+0.05", "no verdict")], RIGHT)
    sweep = ("run", "", "accuracy", "target", "time")
    run = (name, "trained before", "99.35 %", "misses 99.40 % by 0.05", "2 min 5 s")
    tables.show(sweep, [run], lesser=("time",))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= columns
    whole = sum(line.startswith(name) for line in lines)
    assert whole == (3 if columns > 80 else 2), "but the gate's at 80, where no column is lesser"
    assert ("parameters: 5,854" in "".join(lines)) == (columns == 80)


def test_a_column_without_text_is_left_out_and_not_missed(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "20")
    rows = [("step 12", "", "worse"), ("step 13", "", "")]
    tables.show(("network", "of all, by Holm", "verdict"), rows, lesser=("of all, by Holm",))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["network", "verdict"], ["step", "12", "worse"], ["step", "13"]]
    tables.show(("network", "n"), [])
    assert capsys.readouterr().out.split() == ["network", "n"]
    tables.show(("network", "n"), [("", "")])
    monkeypatch.setenv("COLUMNS", "9")
    tables.show(("network", "n"), [("step 12", "3")])  # where half the width has no name
    assert "".join(capsys.readouterr().out.split()) == "networknstep312"


def test_a_report_is_folded_but_for_its_commands(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    command = "python -m experiments.gate step=found/blocks-14"
    tables.print_report(
        ["a sentence that is longer than its own line", command, (("a", "b"), [("1", "2")])]
    )
    tables.say(f"train more: {command}")
    tables.say(f"so: {command[:30]}")
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3:] == ["train more:", command, f"so: {command[:30]}"]
    assert lines[:3] == ["a sentence that is longer than its own", "line", command]
    assert lines[3].split() == ["a", "b"]


def test_verdicts_have_colours_in_a_terminal():
    cells = ("better", "misses 99.40 % by 0.05", "cannot tell", "step 13")
    assert [str(tables._cell(cell).style) for cell in cells] == ["green", "red", "yellow", ""]


def test_a_progress_bar_shortens_a_long_name_and_not_its_figures(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    line, figures = (
        ProgressLine("step 13, " * 20),
        "epoch 2/14  loss 0.0385  acc 98.11%  val 99.36%",
    )
    line.bar.update(line.task, total=10, completed=3, note=figures)
    with line.bar.console.capture() as found:
        line.bar.console.print(line.bar.get_renderable())
    assert figures in found.get()
    assert found.get().startswith("step 13")
