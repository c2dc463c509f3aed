"""A comparison as an HTML page that stands alone: no other file, no server."""

import base64
import io
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from mlflow.exceptions import MlflowException
from omegaconf import DictConfig
from torch import Tensor
from torchvision.transforms.functional import to_pil_image

from experiments.cli.errors import UserError
from experiments.cli.text import points
from experiments.data.images import load
from experiments.reports import charts, table
from experiments.reports.comparison import Row, smallest
from experiments.tracking.store import Store
from experiments.training.artifacts import MISTAKES

WIDE, PHONE = 1110, 350  # pixels of a chart
MOST = 40  # arms, and misclassified images, shown at most


def page(cfg: DictConfig, rows: Sequence[Row], store: Store) -> str:
    """The report as HTML that loads nothing else.

    Args:
        cfg: of compare: what was asked for, and the data with the images to show.
    """

    def drawn(name: str, draw: Callable[..., charts.Chart], data: Any, *url: Any) -> list[Markup]:
        sizes = (WIDE, PHONE) if data else ()
        return [charts.svg(draw(data, width, *url), f"{name}{width}") for width in sizes]

    sizes = [
        charts.Point(arm.parameters, found, arm.name, store.url(arm.parent) if arm.parent else "")
        for arm, found, *_ in rows
        if arm.parameters
    ]
    histories = _histories(rows[:MOST], cfg.metric or "val/acc", store)
    environment = Environment(autoescape=True, loader=FileSystemLoader(Path(__file__).parent))
    return environment.get_template("page.html").render(
        cfg=cfg,
        rows=rows,
        most=MOST,
        today=date.today(),
        first=smallest(rows),
        colours=charts.COLOURS,
        url=store.url,
        table=table,
        ladder=drawn("ladder", charts.ladder, rows[:MOST], store.url),
        pareto=drawn("pareto", charts.pareto, sizes),
        curves=drawn("curves", charts.curves, histories, store.url),
        hardest=_hardest(cfg, rows, store),
    )


def attach(html: str, rows: Sequence[Row], store: Store) -> None:
    """Give each parent run the page as an artifact, and its verdict as a tag."""
    for row in rows:
        if row.arm.parent is None:
            continue
        store.client.log_text(row.arm.parent, html, "report.html")
        if found := row.difference:
            text = f"{found.verdict}: {points(found)} against {row.against}"
            store.client.set_tag(row.arm.parent, "verdict.difference", text)


def _histories(rows: Sequence[Row], metric: str, store: Store) -> dict[str, pd.DataFrame]:
    """The epochs that all runs of an arm have, a column for each run: its seed and its id."""
    histories = {}
    for row in rows:
        runs = list(zip(row.arm.scores, row.arm.runs, strict=True))
        found = {key: store.client.get_metric_history(key[1], metric) for key in runs}
        epochs = {key: {each.step: each.value for each in found[key]} for key in runs}
        histories[row.arm.name] = pd.DataFrame(epochs).sort_index().dropna()
    return {name: epochs for name, epochs in histories.items() if len(epochs)}


def _hardest(cfg: DictConfig, rows: Sequence[Row], store: Store) -> dict[str, Any] | None:
    """The images that most runs classify wrongly; none if the runs used other data."""
    try:
        data, digest = load(cfg)
    except UserError as error:
        print(f"the page leaves out the misclassified images: {error}", file=sys.stderr)
        return None
    tables = [pd.DataFrame(columns=["image", "true", "predicted"])]
    with tempfile.TemporaryDirectory() as folder:
        for run in (run for row in rows for run in row.arm.runs):
            if store.client.get_run(run).data.tags.get("data.digest") != digest:
                continue
            try:
                path = store.client.download_artifacts(run, MISTAKES, folder)
            except (MlflowException, OSError):  # the artifacts of this run are gone
                continue
            tables.append(pd.read_csv(path, dtype={"image": int, "true": str, "predicted": str}))
    images = (
        pd.concat(tables)
        .groupby("image")
        .agg(
            true=("true", "first"),
            answer=("predicted", lambda answers: answers.mode()[0]),
            runs=("predicted", "size"),
        )
    )
    if images.empty:
        return None
    hardest = images.sort_values(["runs", "image"], ascending=[False, True])[:MOST]
    judged = (data.test or data.val).images
    uris = [_uri(judged[index].cpu()) for index in hardest.index]
    return {"images": hardest.assign(uri=uris).itertuples(), "of": len(tables) - 1}


def _uri(image: Tensor) -> str:
    """An image, uint8 (C, H, W), inside an HTML page."""
    file = io.BytesIO()
    to_pil_image(image).save(file, "png")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
