"""A comparison as an HTML page that stands alone: no other file, no server."""

import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from jinja2 import Environment
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

TEMPLATE = Path(__file__).with_name("page.html")

NAME = "report.html"  # of the artifact
CURVES = 40  # arms whose learning curves are shown at most
IMAGES = 40  # misclassified images shown at most


class Picture(NamedTuple):
    """A figure of the page as a data URI, with its heading and caption."""

    heading: str
    uri: str
    caption: str


def page(cfg: DictConfig, rows: Sequence[Row], store: Store) -> str:
    """The report as HTML that loads nothing else.

    Args:
        cfg: of compare: what was asked for, and the data with the images to show.
    """
    caption = "The mean over the seeds after the last epoch, with its 95 % interval, and each run."
    pictures = [Picture("", charts.data_uri(charts.ladder(rows)), caption)]
    networks = [
        charts.Point(row.arm.parameters, row.accuracy, row.arm.name)
        for row in rows
        if row.arm.parameters
    ]
    if networks:
        caption = (
            "The line is the Pareto front: no other network has fewer parameters and a higher "
            "mean. Networks of the same size are named from the highest mean down."
        )
        uri = charts.data_uri(charts.pareto(networks))
        pictures.append(Picture("Accuracy against size", uri, caption))
    pictures += _curves(rows[:CURVES], cfg.metric, store)
    pictures += _misclassified(cfg, rows, store)
    runs = sum(row.accuracy.n for row in rows)
    template = Environment(autoescape=True).from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        title=f"{cfg.tracking.experiment}: {len(rows)} networks, {runs} runs",
        lead=date.today().isoformat(),
        header=comparison.HEADER,
        right=comparison.RIGHT,
        rows=map(comparison.cells, rows),
        failures=comparison.failures([row.arm for row in rows]),
        pictures=pictures,
        notes=comparison.notes(rows),
        created=_created(cfg),
    )


def attach(html: str, rows: Sequence[Row], store: Store) -> None:
    """Give each parent run the page as an artifact, and its verdict as a tag."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, NAME)
        path.write_text(html, encoding="utf-8")
        for arm, _, other, difference in rows:
            if arm.parent is None:
                continue
            store.client.log_artifact(arm.parent, str(path))
            if other and difference:
                text = f"{difference.verdict}: {points(difference)} against {other.name}"
                store.client.set_tag(arm.parent, "verdict.difference", text)


def _created(cfg: DictConfig) -> str:
    asked = {key: cfg[key] for key in ("filter", "group", "against", "metric")}
    given = "".join(f" '{key}={value}'" for key, value in asked.items() if value is not None)
    return (
        f"By python -m experiments.compare{given} html=report.html, from the runs of the MLflow "
        f"experiment {cfg.tracking.experiment}. The notes under the table explain intervals and "
        "verdicts. No epoch was chosen by its accuracy: except for the published best epochs, all "
        "figures are those of the last epoch."
    )


def _curves(rows: Sequence[Row], metric: str, store: Store) -> list[Picture]:
    """Learning curves of the arms whose runs have more than one epoch."""
    histories = {}
    for row in rows:
        runs = []
        for run in row.arm.runs:
            epochs = {m.step: m.value for m in store.client.get_metric_history(run, metric)}
            runs.append([epochs[step] for step in sorted(epochs)])
        if min(map(len, runs)) > 1:
            histories[row.arm.name] = runs
    if not histories:
        return []
    caption = "Mean and range over the runs; in grey the means of the others, from epoch 2 on."
    return [Picture("Learning curves", charts.data_uri(charts.curves(histories)), caption)]


def _misclassified(cfg: DictConfig, rows: Sequence[Row], store: Store) -> list[Picture]:
    """The images that most runs classify wrongly; none if the runs used other data."""
    try:
        data, digest = load(cfg)
    except UserError as error:
        print(f"the page leaves out the misclassified images: {error}", file=sys.stderr)
        return []
    tables = []
    with tempfile.TemporaryDirectory() as folder:
        for run in (run for row in rows for run in row.arm.runs):
            if store.client.get_run(run).data.tags.get("data.digest") != digest:
                continue
            try:
                path = store.client.download_artifacts(run, MISTAKES, folder)
            except (MlflowException, OSError):  # the artifacts of this run are gone
                continue
            tables.append(pd.read_csv(path, dtype={"image": int, "true": str, "predicted": str}))
    mistakes = pd.concat(tables) if tables else pd.DataFrame()
    if mistakes.empty:
        return []
    images = mistakes.groupby("image").agg(
        true=("true", "first"),
        answer=("predicted", lambda answers: answers.mode()[0]),
        runs=("predicted", "size"),
    )
    hardest = images.sort_values(["runs", "image"], ascending=[False, True])[:IMAGES]
    captions = [f"{image.true} → {image.answer}: {image.runs}" for image in hardest.itertuples()]
    figure = wall(data.val.images[hardest.index.tolist()].cpu(), captions, "")
    caption = (
        "Above each image: its label → the most frequent wrong answer, and how many of the "
        f"{len(tables)} runs are wrong."
    )
    return [Picture("Images that most runs classify wrongly", charts.data_uri(figure), caption)]
