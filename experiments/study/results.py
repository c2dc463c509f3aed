"""The results of a search: as text, and as metrics, figures and files of its MLflow run."""

import tempfile
from collections import Counter
from pathlib import Path

from matplotlib import pyplot, rc_context
from omegaconf import DictConfig
from optuna import Study
from optuna.visualization.matplotlib import plot_param_importances
from pandas import DataFrame

from experiments.cli import tables
from experiments.cli.text import measured, percent
from experiments.reports import charts
from experiments.stats.intervals import MISSES, REACHES, UNKNOWN, interval
from experiments.stats.verdict import CANNOT_TELL, FAILS, HOLDS
from experiments.study.race import FINAL, FULL, SHORT, Race, chances
from experiments.tracking.run import TrackedRun
from experiments.tracking.store import STUDY, STUDY_ID, Store

NAMES = "short", "full", "final"  # of the stages
ENOUGH = 10  # trials; the importance of keys says nothing with fewer


def study_run(name: str, identifier: str, cfg: DictConfig, store: Store) -> str:
    """The id of a study's MLflow run, above those of its trials: new, known, or restored."""
    tags = {STUDY_ID: identifier, "kind": "study"}
    if found := store.revived(tags):
        return found[0].info.run_id
    tags |= {STUDY: name, "mlflow.source.name": "experiments.search"}
    with TrackedRun(store, f"search {name}", tags, resume=None) as run:  # nothing runs in it
        run.describe(cfg, {})
    return run.id


def log_study(study: Study, store: Store, parent: str, race: Race, text: str) -> None:
    """Attach metrics, figures, the table of networks and the report to the study's MLflow run."""
    with tempfile.TemporaryDirectory() as temporary:
        draw(study, race, Path(temporary))
        table = tables.without_formulas(to_frame(race))
        table.to_csv(Path(temporary, "trials.csv"), index=False)
        Path(temporary, "report.txt").write_text(text, encoding="utf-8")
        store.patiently(store.client.log_artifacts, parent, temporary)
    stages, winner = Counter(run.stage for run in race.results), race.answer().winner
    metrics = {f"runs/{name}": stages[stage] for stage, name in enumerate(NAMES)}
    metrics["networks"] = len(race.networks)
    if winner is not None:
        metrics["final/parameters"] = race.networks[winner].parameters
        metrics["final/acc_mean"] = interval(race.accuracies(winner, FINAL)).mean
    for name, value in metrics.items():
        store.patiently(store.client.log_metric, parent, name, value)
    store.patiently(store.client.set_terminated, parent)


def to_frame(race: Race) -> DataFrame:
    """A row for each network: its chance to be the answer, its accuracies, its values by key."""
    chance = chances(race.networks, race.results, race.rules.target).round(3)
    rows = []
    for n, (parameters, _, trial) in enumerate(race.networks):
        row = {"trial": trial.number, "parameters": parameters, "chance": chance[n]}
        for stage, name in enumerate(NAMES):
            row[name] = " ".join(f"{one:.4f}" for one in race.accuracies(n, stage))
        rows.append(row | trial.params)
    return DataFrame(rows)


def draw(study: Study, race: Race, folder: Path) -> None:
    """Draw the frontier, pareto.png, and if there are enough trials, importance.png."""
    full, final = (
        [
            charts.Point(network.parameters, interval(values))
            for n, network in enumerate(race.networks)
            if (values := race.accuracies(n, stage))
        ]
        for stage in (FULL, FINAL)
    )
    if full:
        title = "full runs on images held out; stars: finalists on test images"
        (folder / "pareto.png").write_bytes(charts.png(charts.pareto(full, 900, final, title)))
    scores = [network.trial.value or 0 for network in race.networks]
    scores = [score for score in scores if score > 0]  # else it diverged
    if len(scores) >= ENOUGH and len(set(scores)) > 1:
        pyplot.switch_backend("agg")
        with rc_context():  # Optuna changes the style
            figure = plot_param_importances(study, target_name="score").figure
            figure.savefig(folder / "importance.png", dpi=120, bbox_inches="tight")
            pyplot.close(figure)


def report(race: Race, steps: dict[int, str]) -> str:
    """The counts, so that nobody takes the best of many for a mean; the finalists as a table, with
    the names of their steps; and the answer."""
    stages, rules = Counter(run.stage for run in race.results), race.rules
    winner, possible, decisions = race.answer()
    rejected = sum(network.trial.user_attrs["rejected"] for network in race.networks)
    text = tables.folded(
        f"{len(race.networks):,} networks tried: {stages[SHORT]:,} short runs, "
        f"{stages[FULL]:,} full ones, {stages[FINAL]:,} of {len(decisions)} finalists; "
        f"{rejected:,} proposals rejected before training"
    )
    target = percent(rules.target)
    close = f"better than the first by {100 * rules.margin:.2f} points"
    if not decisions:
        return text + (f"none is likely to reach {target}\n" if target and rules.finalists else "")
    words = {HOLDS: f"not {close}", FAILS: close, CANNOT_TELL: CANNOT_TELL}
    if target:
        words = {HOLDS: REACHES, FAILS: MISSES, CANNOT_TELL: UNKNOWN}
        words = {verdict: f"{word} {target}" for verdict, word in words.items()}
    named = {n: f"{race.networks[n].parameters:,} parameters, {step}" for n, step in steps.items()}
    rows = []
    for n in sorted(decisions, key=lambda n: (n != winner, race.networks[n].parameters)):
        values, verdict = race.accuracies(n, FINAL), decisions[n].verdict
        mean = measured(interval(values)) if values else "diverged" if verdict == FAILS else ""
        said = words[verdict] if target or n != winner else "the highest mean"
        rows.append((named[n], str(len(values)), mean, said))
    header = "finalist", "seeds", "mean, 95 % interval", "verdict"
    text += tables.to_text(header, rows, right=header[1:3])
    answers = {"the most accurate finalist": winner}
    if target:
        answers = {
            f"smallest network known to hold {target}": winner,
            "smallest finalist not ruled out": possible,
        }
    for name, n in answers.items():
        text += tables.folded(f"{name}: {named.get(n, 'none')}")
    text += tables.folded("all verdicts together are right with 95 %, over all looks and finalists")
    if winner is not None:
        text += "seeds that chose nothing give an unbiased mean:\n"
        text += f"python -m experiments.train -m step={steps[winner]} 'seed=range(100,110)'\n"
    return text
