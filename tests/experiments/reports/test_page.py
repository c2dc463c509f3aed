"""The report and the MLflow UI, opened in a real browser."""

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import PROJECT, Workplace, closed_port, serving
from made import DIGEST, make, raced
from pictures import CHROMIUM, chromium
from playwright.sync_api import Browser, expect

from experiments.study import results

MANY = ("data.batch_size=128", "model.widths=[8,8,12,12,10]", "optimizer.lr=0.03")
PATIENCE = 60_000  # milliseconds until the UI has drawn a page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def reported(tmp_path_factory) -> tuple[Workplace, str]:
    """A store with two steps, two variations, and their report; and the parent run of step 13."""
    workplace = Workplace(tmp_path_factory.mktemp("pages"))
    make(workplace.folder, "s12", [0.9931, 0.9929, 0.9943])
    make(workplace.folder, "s12", [0.99], "trainer.max_epochs=1")
    make(workplace.folder, "s13", [0.9931, 0.9929, 0.9930], *MANY)
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
    report = reported[0].folder / "report.html"
    page.goto(report.as_uri())
    assert errors == []
    assert [url for url in requests if not url.startswith("data:")] == [report.as_uri()]
    assert report.stat().st_size < 1_500_000
    headings = page.locator("h2").all_inner_texts()
    assert headings == [
        "Accuracy of each network",
        "Verdicts",
        "Accuracy against size",
        "Learning curves",
        "Images that most runs classify wrongly",
        "How this page was created",
    ]
    expect(page.locator("tbody tr")).to_have_count(4)
    expect(page.get_by_text("cannot tell").first).to_be_visible()
    assert page.pdf().startswith(b"%PDF")
    page.close()


OVERLAPS = """() => [...document.querySelectorAll("figure svg")].flatMap(chart => {
  const texts = [...chart.querySelectorAll("text")]
    .map(text => ({ text: text.textContent, box: text.getBoundingClientRect() }))
    .filter(({ box }) => box.width);
  return texts.flatMap((one, place) => texts.slice(0, place).filter(({ box }) =>
    box.left < one.box.right && one.box.left < box.right &&
    box.top < one.box.bottom && one.box.top < box.bottom
  ).map(other => `${one.text} on ${other.text}`));
})"""


CROSSED = """() => [...document.querySelectorAll("figure svg")].flatMap(chart => {
  const texts = [...chart.querySelectorAll("text")];
  return [...chart.querySelectorAll(".mark-line path")].flatMap(line => {
    const matrix = line.getScreenCTM(), pixels = Math.ceil(line.getTotalLength());
    const points = [...Array(pixels).keys()].map(
      pixel => line.getPointAtLength(pixel).matrixTransform(matrix));
    return texts.filter(text => {
      const box = text.getBoundingClientRect();
      return points.some(({ x, y }) =>
        box.left < x && x < box.right && box.top + 2 < y && y < box.bottom - 2);
    }).map(text => text.textContent);
  });
})"""


OUTSIDE = """() => [...document.querySelectorAll("figure svg")].flatMap(chart => {
  const whole = chart.getBoundingClientRect();
  return [...chart.querySelectorAll("text")].filter(text => {
    const box = text.getBoundingClientRect();
    return box.width && (box.left < whole.left - 1 || box.right > whole.right + 1);
  }).map(text => text.textContent);
})"""


@pytest.fixture(scope="module")
def pages(reported) -> dict[str, tuple[str, set[str]]]:
    """The addresses of a report and of a search's page, with texts of their charts."""
    report, search = reported[0].folder / "report.html", reported[0].folder / "search.html"
    search.write_text(results.search_page(*raced()), encoding="utf-8")
    return {
        "report": (report.as_uri(), {"step 12", "step 13", "accuracy, %", "parameters"}),
        "search": (search.as_uri(), {"trial 9", "accuracy, %", "parameters"}),
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 768, 1280])
@pytest.mark.parametrize("name", ["report", "search"])
def test_a_page_fits_its_window_and_is_accessible(browser, pages, name, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.goto(pages[name][0])
    assert page.evaluate("document.documentElement.scrollWidth") == width
    texts = page.locator("figure text:visible").all_text_contents()
    assert pages[name][1] <= set(texts)
    assert page.evaluate(OVERLAPS) == []
    assert page.evaluate(CROSSED) == []
    assert page.evaluate(OUTSIDE) == []
    assert Axe().run(page).response["violations"] == []
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")
    page.close()


def test_the_charts_tell_run_value_and_seed_and_lead_to_mlflow(browser, reported):
    workplace, parent = reported
    page = browser.new_page()
    page.goto((workplace.folder / "report.html").as_uri())
    tip = page.locator("#tip")
    run = page.locator("a:visible", has=page.get_by_label("step 13: seed 1, 99.28 %", exact=True))
    run.hover()
    expect(tip).to_have_text("step 13: seed 1, 99.28 %")
    ids = {each.info.run_name: each.info.run_id for each in workplace.runs()}
    link = run.evaluate("link => link.href.baseVal")
    assert link.endswith(f"/runs/{ids['step 13, seed 1']}")
    page.locator("a:visible", has=page.get_by_label("step 13: 99.32 %")).first.focus()
    expect(tip).to_contain_text("n = 3; cannot tell, -0.03")
    expect(page.locator("tbody a", has_text="step 13").first).to_have_attribute(
        "href", re.compile(parent)
    )
    single = page.get_by_label("step 12, trainer.max_epochs=1: seed 0, epoch 1, 99.00 %")
    expect(single.locator("visible=true")).to_have_count(1)
    page.close()


def test_the_table_sorts_by_a_column_from_the_keyboard(browser, reported):
    page = browser.new_page()
    page.goto((reported[0].folder / "report.html").as_uri())
    names, column = page.locator("tbody th"), page.get_by_role("button", name="accuracy, 95 %")
    assert names.all_inner_texts()[0] == "step 12"
    for order, first in (("ascending", "step 12, trainer.max_epochs=1"), ("descending", "step 12")):
        column.press("Enter")
        expect(page.locator(f"th[aria-sort={order}]")).to_have_text("accuracy, 95 % interval")
        assert names.all_inner_texts()[0] == first
    page.close()


def test_the_ui_opens_on_a_table_of_arms(browser, reported, tmp_path):
    """Its link is given to the desktop's browser, here a script that notes it."""
    workplace, parent = reported
    note, script = tmp_path / "link", tmp_path / "browser"
    script.write_text(f'#!/bin/sh\necho "$1" > {note}\n')
    script.chmod(0o755)
    port, page = closed_port(), browser.new_page(viewport={"width": 1900, "height": 900})
    here = (f"BIN={Path(sys.executable).parent}", f"PORT={port}", f"STORE={workplace.uri}")
    desktop = os.environ | {"DISPLAY": ":0", "BROWSER": str(script)}
    with serving(["make", "--old-file=setup", "ui", *here], port, cwd=PROJECT, env=desktop):
        deadline = time.monotonic() + 30
        while not note.exists() or not note.read_text().endswith("\n"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        page.goto(note.read_text().strip())
        expect(page.get_by_text("step 12", exact=True)).to_be_visible(timeout=PATIENCE)
        for column in ("changed", "parameters", "seeds", "val/acc_mean", "verdict", "Dataset"):
            header = page.get_by_role("columnheader", name=column, exact=True).first
            expect(header).to_be_visible()
        expect(page.get_by_text(f"MNIST train ({DIGEST})")).to_have_count(4)
        expect(page.get_by_text(", ".join(MANY), exact=True)).to_be_visible()
        expect(page.get_by_text("second width 10 again", exact=True)).to_be_visible()
        verdict = workplace.client.get_run(parent).data.tags["verdict"]
        expect(page.get_by_text(verdict).first).to_be_visible()
        for figure in ("5854", "6054", "0.993"):  # of both steps, and a mean
            expect(page.get_by_text(re.compile(f"^{figure}")).first).to_be_visible()
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
