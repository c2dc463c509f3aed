"""HTML pages that stand alone, without other files or a server: their frame, and the comparison."""

import base64
import io
import sys
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from omegaconf import DictConfig
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from experiments.cli.errors import UserError
from experiments.cli.text import points
from experiments.data.images import load
from experiments.reports import charts, table
from experiments.reports.comparison import Row, by_images, smallest
from experiments.tracking.artifacts import read_mistakes
from experiments.tracking.identity import with_seed
from experiments.tracking.store import Store

WIDE, PHONE = 1110, 350  # pixels of a chart
TAG = "verdict.difference"
MOST = 40  # arms, and misclassified images, shown at most


def page(cfg: DictConfig, rows: Sequence[Row], store: Store) -> str:
    """The report as HTML that loads nothing else. `cfg`, of compare, says what was asked for, and
    has the data with the images to show."""
    epochs = histories(rows[:MOST], cfg.metric or "val/acc", store)
    parts = [
        {
            "first": f"{title} {smallest(own)}".strip(),
            "rows": own,
            "ladder": drawn(charts.ladder, own[:MOST], store.url, part=number),
            "pareto": drawn(charts.pareto, sizes(own, store.url), part=number),
        }
        for number, (title, own) in enumerate(by_images(rows))
    ]
    return render(
        "comparison.html",
        cfg=cfg,
        rows=rows,
        most=MOST,
        first=parts[0]["first"],
        parts=parts,
        url=store.url,
        table=table,
        with_seed=with_seed,
        curves=drawn(charts.curves, epochs, store.url),
        hardest=_hardest(cfg, rows, store),
    )


def render(template: str, **values: Any) -> str:
    """A page from a template that extends base.html; texts are escaped."""
    environment = Environment(autoescape=True, loader=FileSystemLoader(Path(__file__).parent))
    page = environment.get_template(template)
    return page.render(today=date.today(), colours=charts.definitions()["colours"], **values)


def drawn(draw: Callable[..., charts.Chart], data: Any, *rest: Any, part: int = 0) -> list[Markup]:
    """A chart for wide and for narrow windows; none without data. `part`: of those of its kind on
    the page, from 0."""
    sizes, name = (WIDE, PHONE) if data else (), f"{draw.__name__}{part}-"
    return [charts.svg(draw(data, width, *rest), f"{name}{width}") for width in sizes]


def attach(html: str, rows: Sequence[Row], store: Store) -> None:
    """Give each parent run the page as an artifact, and its verdict as a tag."""
    for row in (row for row in rows if row.arm.parent):
        store.client.log_text(row.arm.parent, html, "report.html")
        if found := row.difference:
            text = f"{found.verdict}: {points(found)} against {row.against}"
            store.client.set_tag(row.arm.parent, TAG, text)
        elif TAG in store.client.get_run(row.arm.parent).data.tags:
            store.client.delete_tag(row.arm.parent, TAG)


def sizes(rows: Sequence[Row], url: Callable[[str], str]) -> list[charts.Point]:
    """The arms by their sizes, where these are known; `url` tells where a run of an id is shown."""
    return [
        charts.Point(arm.parameters, found, arm.name, url(arm.parent) if arm.parent else "")
        for arm, found, *_ in rows
        if arm.parameters
    ]


def histories(rows: Sequence[Row], metric: str, store: Store) -> dict[str, pd.DataFrame]:
    """The epochs that all runs of an arm have, a column for each run: its seed and its id."""
    found = {}
    for arm in (row.arm for row in rows):
        epochs = {}
        for seed, run in zip(arm.scores, arm.runs, strict=True):
            history = store.client.get_metric_history(run, metric)
            epochs[seed, run] = {each.step: each.value for each in history}
        found[arm.name] = pd.DataFrame(epochs).sort_index().dropna()
    return {name: epochs for name, epochs in found.items() if len(epochs)}


def _hardest(cfg: DictConfig, rows: Sequence[Row], store: Store) -> dict[str, Any] | None:
    """The images that most runs classify wrongly; none if the runs used other data."""
    try:
        data, digest = load(cfg)
    except UserError as error:
        print(f"the page leaves out the misclassified images: {error}", file=sys.stderr)
        return None
    judged = (data.test or data.val).images
    runs = [run for row in rows if row.arm.digest == digest for run in row.arm.runs]
    found = (read_mistakes(store.client, run, len(judged)) for run in runs)
    kept = [mistakes for mistakes in found if mistakes is not None]
    if not sum(map(len, kept)):
        return None
    images = (
        pd.concat(kept)
        .groupby("image")
        .agg(
            true=("true", "first"),
            answer=("predicted", lambda answers: answers.mode()[0]),
            runs=("predicted", "size"),
        )
    )
    hardest = images.nlargest(MOST, "runs")
    uris = [_uri(judged[image].cpu()) for image in hardest.index]
    return {"images": hardest.assign(uri=uris).itertuples(), "of": len(kept)}


def _uri(image: Tensor) -> str:
    """An image, uint8 (C, H, W), inside an HTML page."""
    file = io.BytesIO()
    to_pil_image(image).save(file, "png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
