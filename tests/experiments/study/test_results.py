"""What a search prints at its end, and the page that it leaves."""

import shlex
from html import escape
from pathlib import Path

import pytest
from conftest import composing
from hydra import compose
from hydra.core.hydra_config import HydraConfig
from made import raced
from optuna.trial import create_trial

from experiments.cli.tables import print_report
from experiments.study.race import FINAL, Network, Race, Rules, Run
from experiments.study.results import confirmation, report, rounds, search_page

SIZES = (1_962, 2_994, 4_912)
MEANS = (0.9921, 0.9937, 0.9944)
STEPS = {n: f"found/blocks-{12 + n}" for n in range(len(SIZES))}


def race(target: float | None) -> Race:
    """Three finalists: the first misses 99.4 %, the last reaches it, the one between may do so."""
    networks = [
        Network(size, (1.0,), create_trial(value=0.5, user_attrs={"rejected": 40}))
        for size in SIZES
    ]
    results = {Run(n, stage, 0): mean - 0.01 for n, mean in enumerate(MEANS) for stage in (0, 1)}
    for n, mean in enumerate(MEANS):
        for seed in range(6):
            spread = 0.0005 if n == 1 else 0.0001
            results[Run(n, FINAL, seed)] = mean + spread * (seed % 2)
    return Race(Rules(target, 3, 3, 3, 9, 0.0005), networks, results, [0, 1, 2])


@pytest.mark.parametrize(("name", "target"), [("search", 0.994), ("search-best", None)])
def test_the_screen_is_as_kept(screen, capsys, name, target):
    print_report(report(race(target), STEPS, Path("conf/step/found")))
    screen(name, capsys.readouterr().out)


def test_an_unmet_target_is_told_with_what_came_nearest():
    found = race(0.9999)._replace(finalists=[])
    kept = {run: value for run, value in found.results.items() if run.stage != FINAL}
    said = "\n".join(report(found._replace(results=kept), {}, Path("conf/step/found")))
    assert "no network is likely to be shown to reach 99.99 %" in said
    assert "the nearest: trial -1, 4,912 parameters, 98.44 % in 1 full run" in said
    assert "a larger trials= goes on" in said


def test_the_commands_at_the_end_name_the_places_of_the_search(tmp_path):
    places = [f"tracking.uri=sqlite:///{tmp_path}/m.db", f"tracking.artifacts={tmp_path}/a b"]
    with composing():
        path = f"hydra.searchpath=[file://{tmp_path}]"
        given = [*places, path, "trials=3"]
        whole = compose("search", overrides=given, return_hydra_config=True)
        HydraConfig.instance().set_config(whole)
        try:
            commands = confirmation("found/it-1")
        finally:
            HydraConfig.instance().cfg = None
    for command in commands:
        assert shlex.split(command)[-3:] == [*places, path]


def test_the_page_tells_who_ran_in_each_round_and_who_left():
    study, found, steps = raced()
    texts = rounds(found)
    assert texts[0] == "12 networks in short, the first 8 in full as well"
    assert texts[1].startswith("in full: trial ")
    for number in range(8):  # each either goes on or leaves
        assert f"trial {number} (" in texts[1]
    ran = {run.network for run in found.results if run.stage == FINAL}
    assert texts[-len(ran) - 1].startswith("the finals")
    assert {text.split(" (")[0] for text in texts[-len(ran) :]} == {
        f"finalist: trial {n}" for n in ran
    }
    html = search_page(study, found, steps)
    winner = steps[found.answer().winner]
    assert f"python -m experiments.gate step={winner}" in html
    assert all(f"<li>{escape(text)}</li>" in html for text in texts)
    assert "model.scale" in html.partition("Importance of keys")[2]
    assert len(html) < 1_500_000
