"""A comparison as an HTML page that stands alone: no other file, no server."""

import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pandas as pd
from jinja2 import Environment, FileSystemLoader
from matplotlib.figure import Figure
from mlflow.exceptions import MlflowException
from omegaconf import DictConfig

from experiments.cli.errors import UserError
from experiments.cli.text import points
from experiments.data.images import load
from experiments.reports import charts, comparison
from experiments.reports.comparison import Row
from experiments.tracking.store import Store
from experiments.training.artifacts import MISTAKES
from experiments.training.figures import wall

CURVES = 40  # arms whose learning curves are shown at most
IMAGES = 40  # misclassified images shown at most


def page(cfg: DictConfig, rows: Sequence[Row], store: Store) -> str:
    """The report as HTML that loads nothing else.

    Args:
        cfg: of compare: what was asked for, and the data with the images to show.
    """
    points = [charts.Point(arm.parameters, found, arm.name) for arm, found, *_ in rows]
    networks = [point for point in points if point.parameters]
    histories = _histories(rows[:CURVES], cfg.metric or "val/acc", store)
    environment = Environment(autoescape=True, loader=FileSystemLoader(Path(__file__).parent))
    environment.filters["uri"] = charts.data_uri
    return environment.get_template("page.html").render(
        cfg=cfg,
        rows=rows,
        today=date.today(),
        table=comparison,
        ladder=charts.ladder(rows),
        pareto=charts.pareto(networks) if networks else None,
        curves=charts.curves(histories) if histories else None,
        misclassified=_misclassified(cfg, rows, store),
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
    """The epochs that all runs of an arm have, a column for each run; none of single epochs."""
    histories = {}
    for row in rows:
        runs = {run: store.client.get_metric_history(run, metric) for run in row.arm.runs}
        epochs = {run: {each.step: each.value for each in found} for run, found in runs.items()}
        histories[row.arm.name] = pd.DataFrame(epochs).sort_index().dropna()
    return {name: epochs for name, epochs in histories.items() if len(epochs) > 1}


def _misclassified(cfg: DictConfig, rows: Sequence[Row], store: Store) -> Figure | None:
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
    hardest = images.sort_values(["runs", "image"], ascending=[False, True])[:IMAGES]
    captions = [f"{image.true} → {image.answer}: {image.runs}" for image in hardest.itertuples()]
    title = f"of {len(tables) - 1} runs"
    judged = data.test or data.val
    return wall(judged.images[hardest.index.tolist()].cpu(), captions, title)
