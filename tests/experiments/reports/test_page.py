"""The report and the MLflow UI, opened in a real browser."""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PROJECT, Workplace, closed_port, serving
from made import make
from playwright.sync_api import Browser, expect, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
PATIENCE = 60_000  # milliseconds until the UI has drawn a page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def reported(tmp_path_factory) -> tuple[Workplace, str]:
    """A store with two steps and their report, and the parent run of step 13."""
    workplace = Workplace(tmp_path_factory.mktemp("pages"))
    make(workplace.folder, "s12", [0.9931, 0.9929, 0.9933])
    parent = make(workplace.folder, "s13", [0.9932, 0.9928, 0.9935])
    page = f"html={workplace.folder / 'report.html'}"
    result = workplace.run("compare", f"tracking.uri={workplace.uri}", page)
    assert result.returncode == 0, result.stderr
    return workplace, parent


def test_the_report_needs_nothing_but_itself(browser, reported):
    page, requests, errors = browser.new_page(), [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: errors.append(message.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    address = (reported[0].folder / "report.html").as_uri()
    page.goto(address)
    assert errors == []
    assert [url for url in requests if not url.startswith("data:")] == [address]
    plots = page.locator("img")
    assert plots.evaluate_all("plots => plots.every(plot => plot.naturalWidth > 100)")
    headings = page.locator("h2").all_inner_texts()
    assert headings == [
        "Verdicts",
        "Accuracy against size",
        "Learning curves",
        "Images that most runs classify wrongly",
        "How this page was created",
    ]
    assert plots.count() == 4
    expect(page.locator("tbody tr")).to_have_count(2)
    expect(page.get_by_text("cannot tell").first).to_be_visible()
    assert page.pdf().startswith(b"%PDF")


def test_the_ui_opens_on_a_table_of_arms(browser, reported, tmp_path):
    """Its link is given to the desktop's browser, here a script that notes it."""
    workplace, parent = reported
    note, script = tmp_path / "link", tmp_path / "browser"
    script.write_text(f'#!/bin/sh\necho "$1" > {note}\n')
    script.chmod(0o755)
    port, page = closed_port(), browser.new_page(viewport={"width": 2000, "height": 1000})
    here = (f"BIN={Path(sys.executable).parent}", f"PORT={port}", f"STORE={workplace.uri}")
    desktop = os.environ | {"DISPLAY": ":0", "BROWSER": str(script)}
    with serving(["make", "--old-file=setup", "ui", *here], port, cwd=PROJECT, env=desktop):
        deadline = time.monotonic() + 30
        while not note.exists() or not note.read_text().endswith("\n"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        page.goto(note.read_text().strip())
        expect(page.get_by_text("step 12", exact=True)).to_be_visible(timeout=PATIENCE)
        for column in ("parameters", "seeds", "val/acc_mean", "verdict"):
            header = page.get_by_role("columnheader", name=column, exact=True).first
            expect(header).to_be_visible()
        verdict = workplace.client.get_run(parent).data.tags["verdict"]
        expect(page.get_by_text(verdict).first).to_be_visible()
        expect(page.get_by_text("step 13, seed 0", exact=True)).to_have_count(0)
    page.close()


def test_the_ui_shows_parents_children_and_the_report(browser, reported):
    workplace, parent = reported
    port, page = closed_port(), browser.new_page(viewport={"width": 1600, "height": 1000})
    here = (f"BIN={Path(sys.executable).parent}", f"PORT={port}", f"STORE={workplace.uri}")
    with serving(["make", "--old-file=setup", "ui", *here], port, cwd=PROJECT) as address:
        experiment = workplace.client.get_run(parent).info.experiment_id
        page.goto(f"{address}/#/experiments/{experiment}/runs")
        expect(page.get_by_text("step 12", exact=True)).to_be_visible(timeout=PATIENCE)
        page.get_by_text("step 13", exact=True).click()
        for seed in range(3):
            child = page.get_by_text(f"step 13, seed {seed}", exact=True)
            expect(child).to_be_visible(timeout=PATIENCE)
        expect(page.get_by_text("second width 10 again").first).to_be_visible()
        expect(page.get_by_text("val/acc_mean").first).to_be_visible()
        page.get_by_text("Artifacts", exact=True).click()
        page.get_by_text("report.html", exact=True).first.click()
        report = page.frame_locator("iframe").last
        expect(report.get_by_text("Accuracy against size")).to_be_visible(timeout=PATIENCE)
    page.close()
