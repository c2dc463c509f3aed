"""The pictures of docs/, in chromium: the report of evidence/runs.csv, MLflow's first view of these
runs, and the page of a made search.

PYTHONPATH=.:tests python tests/pictures.py    # a minute
"""

import io
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import PROJECT, closed_port, configure, serving
from ladder import compare
from made import raced
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from experiments.study import results
from experiments.tracking.store import Store

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
WIDE, PHONE, UI = 1280, 390, 1700  # pixels


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def keep(page: Page, name: str, height: float) -> None:
    """Write the top of a page, so many pixels high, as a picture of docs/."""
    width = page.viewport_size["width"]
    clip = {"x": 0, "y": 0, "width": width, "height": height}
    picture = Image.open(io.BytesIO(page.screenshot(clip=clip, full_page=True)))
    few = picture.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE)  # less than 200 KB
    few.save(PROJECT / f"docs/{name}.png", optimize=True)


def keep_page(browser: Browser, path: Path, name: str, scheme: str, width: int, end: str) -> None:
    """A page as far as a heading."""
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.goto(path.as_uri())
    keep(page, name, page.get_by_role("heading", name=end).bounding_box()["y"] - 20)
    page.close()


def keep_ui(browser: Browser, folder: Path) -> None:
    """MLflow on the page that `make ui` opens."""
    uri, port = f"tracking.uri=sqlite:///{folder}/mlflow.db", closed_port()
    link = Store(configure("ui", uri).tracking, create=False).share_view(port)
    command = [sys.executable, "-m", "experiments.ui", uri, f"port={port}"]
    with serving(command, port, cwd=PROJECT):
        page = browser.new_page(viewport={"width": UI, "height": 760})
        page.goto(link)
        page.get_by_text("step 12", exact=True).wait_for(timeout=60_000)
        page.mouse.click(UI - 36, 36)  # closes the assistant beside it
        page.wait_for_timeout(2000)  # until its columns have their widths
        keep(page, "ui", 760)


def main() -> None:
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        folder = Path(name)
        compare(folder, f"html={folder / 'report.html'}")
        (folder / "search.html").write_text(results.search_page(*raced()), encoding="utf-8")
        for scheme, mark in {"light": "", "dark": "-dark"}.items():
            pages = {"report": "Accuracy against size", "search": "Networks"}
            for page, end in pages.items():
                path = folder / f"{page}.html"
                keep_page(browser, path, f"{page}{mark}", scheme, WIDE, end)
        keep_page(browser, folder / "report.html", "report-phone", "light", PHONE, "Verdicts")
        keep_ui(browser, folder)


if __name__ == "__main__":
    main()
