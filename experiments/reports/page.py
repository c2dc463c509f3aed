"""A comparison as a page of its own: no file and no server beside it."""

from __future__ import annotations

import csv
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jinja2 import Environment
from markupsafe import Markup
from mlflow.exceptions import MlflowException
from omegaconf import DictConfig

from experiments.cli.errors import UserError
from experiments.cli.text import points
from experiments.reports import charts
from experiments.reports.comparison import COLUMNS, LEFT, NOTES, Row, cells, devices, failures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.tracking.store import Store

TEMPLATE = Path(__file__).with_name("page.html")

NAME = "report.html"  # of the artifact
CURVES = 40  # arms whose learning curves are shown at most
DIGITS = 40  # images


class Picture(NamedTuple):
    """A figure with its heading, and what it shows in words."""

    heading: str
    figure: Figure
    caption: str


def page(cfg: DictConfig, rows: Sequence[Row], store: Store) -> str:
    """The report as HTML that asks for nothing from outside.

    Args:
        cfg: of compare: what was asked for, and the data that the mistakes are shown from.
    """
    runs = sum(row.accuracy.n for row in rows)
    pictures = [
        Picture(
            "",
            charts.ladder(rows),
            "The mean over the seeds after the last epoch, with its 95 % interval, and every run.",
        )
    ]
    if front := charts.pareto(rows):
        caption = (
            "The line is the front: no other network has fewer parameters and a higher mean. "
            "Networks of one size are named from the highest mean down."
        )
        pictures.append(Picture("Accuracy against size", front, caption))
    pictures += _curves(rows[:CURVES], cfg.metric, store)
    pictures += _hardest(cfg, rows, store)
    environment = Environment(autoescape=True)
    environment.globals["shown"] = _shown
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        title=f"{cfg.tracking.experiment}: {len(rows)} networks, {runs} runs",
        lead=f"{date.today().isoformat()}, trained on {devices(rows)}",
        columns=[column or "network" for column in COLUMNS],
        left=["network", *LEFT],
        rows=[cells(row) for row in rows],
        failures=failures([row.arm for row in rows]),
        figures=pictures,
        notes=NOTES,
        made=_made(cfg),
    )


def attach(html: str, rows: Sequence[Row], store: Store) -> None:
    """Give each parent run the page as an artifact, and the verdict on it as a tag."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, NAME)
        path.write_text(html, encoding="utf-8")
        for row in rows:
            if row.arm.parent is None:
                continue
            store.client.log_artifact(row.arm.parent, str(path))
            if row.other and row.difference:
                found = f"{row.difference.verdict}: {points(row.difference)}"
                text = f"{found} against {row.other.name}"
                store.client.set_tag(row.arm.parent, "verdict.difference", text)


def _shown(picture: Picture) -> Markup:
    heading = Markup("<h2>{}</h2>").format(picture.heading) if picture.heading else ""
    image = Markup("<img alt='{}' src='{}'>").format(
        picture.heading or "Accuracy of each network", charts.data_uri(picture.figure)
    )
    caption = Markup("<figcaption>{}</figcaption>").format(picture.caption)
    return heading + Markup("<figure>") + image + caption + Markup("</figure>")


def _made(cfg: DictConfig) -> str:
    asked = {"filter": cfg.filter, "group": cfg.group, "against": cfg.against, "metric": cfg.metric}
    given = "".join(f" '{key}={value}'" for key, value in asked.items() if value is not None)
    return (
        f"python -m experiments.compare{given} html=report.html, from the runs of the MLflow "
        f"experiment {cfg.tracking.experiment}. How intervals and verdicts come about stands under "
        "the table. No epoch was chosen by its accuracy: every figure but the published best "
        "epochs is of the last one."
    )


def _curves(rows: Sequence[Row], metric: str, store: Store) -> list[Picture]:
    """Learning curves, of runs that have more than one epoch."""
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
    return [Picture("Learning curves", charts.curves(histories), caption)]


def _hardest(cfg: DictConfig, rows: Sequence[Row], store: Store) -> list[Picture]:
    """The images that most runs read wrong; nothing where the runs or the data do not tell."""
    from experiments.data.images import load
    from experiments.training.artifacts import MISTAKES

    wrong: dict[int, Counter[str]] = defaultdict(Counter)
    truth, asked = {}, 0
    try:
        data, digest = load(cfg)
    except UserError as error:
        print(f"the page leaves out the images that were read wrong: {error}", file=sys.stderr)
        return []
    with tempfile.TemporaryDirectory() as folder:
        for run in (run for row in rows for run in row.arm.runs):
            if store.client.get_run(run).data.tags.get("data.digest") != digest:
                continue
            try:
                path = store.client.download_artifacts(run, MISTAKES, folder)
            except (MlflowException, OSError):  # of a run from before there were such lists
                continue
            asked += 1
            for row in csv.DictReader(Path(path).read_text().splitlines()):
                image = int(row["image"])
                truth[image] = row["true"]
                wrong[image][row["predicted"]] += 1
    chosen = sorted(wrong, key=lambda image: (-wrong[image].total(), image))[:DIGITS]
    if not chosen:
        return []
    captions = []
    for image in chosen:
        [(answer, _)] = wrong[image].most_common(1)
        captions.append(f"{truth[image]} → {answer}\n{wrong[image].total()} of {asked}")
    images = data.val.images[chosen].cpu().numpy()
    caption = "Above each: its label, what most took it for, and how many of the runs erred."
    pictures = charts.digits(np.ascontiguousarray(images[:, 0]), captions)
    return [Picture("What most runs get wrong", pictures, caption)]
