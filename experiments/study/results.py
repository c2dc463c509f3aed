"""The results of a search: as text and as a page, and in its MLflow run."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from omegaconf import DictConfig
from optuna import Study
from optuna.importance import get_param_importances
from pandas import DataFrame

from experiments.cli import tables
from experiments.cli.text import measured, on_target, percent, pluralize
from experiments.reports import charts
from experiments.reports.page import drawn, render
from experiments.stats.intervals import interval
from experiments.stats.sequential import CLAIM
from experiments.stats.target import CANNOT_TELL, FAILS, HOLDS
from experiments.study.race import FINAL, FULL, SHORT, Race, chances
from experiments.tracking.run import TrackedRun
from experiments.tracking.store import STUDY, STUDY_ID, Store

NAMES = "short", "full", "final"  # of the stages
ENOUGH = 10  # trials; the importance of keys says nothing with fewer
HEADER = "finalist", "seeds", "mean, 95 % interval", "verdict"


def study_run(name: str, identifier: str, cfg: DictConfig, store: Store) -> TrackedRun:
    """A study's MLflow run, above those of its trials: new, known, or restored."""
    tags = {STUDY_ID: identifier, "kind": "study"}
    found = next(iter(store.matching_or_restored(tags)), None)
    tags |= {STUDY: name, "mlflow.source.name": "experiments.search"}
    run = TrackedRun(store, f"search {name}", tags, resume=found)
    if found is None:
        run.describe(cfg, {})
    return run


def log_study(
    study: Study, parent: TrackedRun, race: Race, steps: dict[int, str], folder: Path
) -> list[str | tuple]:
    """Attach metrics, a page and the table of networks to the study's MLflow run; the report
    for the screen. `steps`: the names of the finalists' steps, whose files are in `folder`."""
    table, store = tables.to_csv(to_frame(race)), parent.store
    for name, text in {"report.html": search_page(study, race, steps), "trials.csv": table}.items():
        store.patiently(store.client.log_text, parent.id, text, name)
    stages, winner = Counter(run.stage for run in race.results), race.answer().winner
    metrics = {f"runs/{name}": stages[stage] for stage, name in enumerate(NAMES)}
    metrics["networks"] = len(race.networks)
    if winner is not None:
        metrics["final/parameters"] = race.networks[winner].parameters
        metrics["final/acc_mean"] = interval(race.accuracies(winner, FINAL)).mean
    for name, value in metrics.items():
        store.patiently(store.client.log_metric, parent.id, name, value)
    return report(race, steps, folder)


def to_frame(race: Race) -> DataFrame:
    """A row for each network: its chance to be the answer, its accuracies, its values by key."""
    chance = chances(race.networks, race.results, race.rules).round(3)
    rows = []
    for n, (parameters, _, trial) in enumerate(race.networks):
        row = {"trial": trial.number, "parameters": parameters, "chance": chance[n]}
        for stage, name in enumerate(NAMES):
            row[name] = " ".join(f"{one:.4f}" for one in race.accuracies(n, stage))
        rows.append(row | trial.params)
    return DataFrame(rows)


def search_page(study: Study, race: Race, steps: dict[int, str]) -> str:
    """The race as an HTML page that stands alone."""
    full, final = (
        [
            charts.Point(network.parameters, interval(values), trial_name(race, n))
            for n, network in enumerate(race.networks)
            if (values := race.accuracies(n, stage))
        ]
        for stage in (FULL, FINAL)
    )
    winner, importances, networks = race.answer().winner, [], to_frame(race)
    shown = networks.map(lambda value: f"{value:.4g}" if isinstance(value, float) else str(value))
    scores = [network.trial.value or 0 for network in race.networks]
    scores = [score for score in scores if score > 0]  # else it diverged
    if len(scores) >= ENOUGH and len(set(scores)) > 1:
        shares = get_param_importances(study).items()
        importances = [(key, f"{100 * share:.0f} %") for key, share in shares]
    return render(
        "search.html",
        title=f"search {study.study_name}",
        first=". ".join([run_counts(race), *answer_sentences(race, steps)]),
        claim=CLAIM,
        finalists=(HEADER, finalists(race, steps)),
        again=None if winner is None else "\n".join(confirmation(steps[winner])),
        pareto=drawn(charts.pareto, full, final),
        rounds=rounds(race),
        networks=(list(shown), shown.to_numpy().tolist()),
        importances=importances,
    )


def rounds(race: Race) -> list[str]:
    """Which networks ran in each round, and which left the race, with their chances."""

    def listed(networks: Iterable[int], chance: np.ndarray) -> str:
        return ", ".join(f"{trial_name(race, n)} ({chance[n]:.0%})" for n in networks)

    texts, before = [], set()
    for runs, chance in race.rounds():
        field = list(dict.fromkeys(run.network for run in runs if run.stage == FULL))
        if chance is None:
            text = f"{len(race.networks)} networks in short, the first {len(field)} in full as well"
        else:
            field = field or [*race.answer().decisions]
            text = "in full: " if runs else "finalists: "
            text += listed(field, chance) or "none"
            if left := sorted(before - {*field}):
                text += f"; out: {listed(left, chance)}"
        texts.append(text)
        before = {*field}
    return texts


def trial_name(race: Race, network: int) -> str:
    return f"trial {race.networks[network].trial.number}"


def run_counts(race: Race) -> str:
    """The counts, so that nobody takes the best of many for a mean."""
    stages = Counter(run.stage for run in race.results)
    rejected = sum(network.trial.user_attrs["rejected"] for network in race.networks)
    tried, ran = pluralize(len(race.networks), "network"), pluralize(stages[SHORT], "short run")
    entered = pluralize(len(race.answer().decisions), "finalist")
    return (
        f"{tried} tried: {ran}, {pluralize(stages[FULL], 'full run')}, "
        f"{pluralize(stages[FINAL], 'run')} of {entered}; "
        f"{pluralize(rejected, 'proposal')} rejected before training"
    )


def finalists(race: Race, steps: dict[int, str]) -> list[tuple[str, ...]]:
    """A row for each finalist, in the order of HEADER, the winner first."""
    (winner, _, decisions), target, rows = race.answer(), percent(race.rules.target), []
    close = f"better than the first by {100 * race.rules.margin:.2f} points"
    words = {HOLDS: f"not {close}", FAILS: close, CANNOT_TELL: CANNOT_TELL}
    if target:
        words = {verdict: on_target(verdict, target) for verdict in words}
    for n in sorted(decisions, key=lambda n: (n != winner, race.networks[n].parameters)):
        values, verdict = race.accuracies(n, FINAL), decisions[n].verdict
        mean = measured(interval(values)) if values else "diverged" if verdict == FAILS else ""
        said = words[verdict] if target or n != winner else "the highest mean"
        rows.append((f"{steps[n]}, {with_size(race, n)}", str(len(values)), mean, said))
    return rows


def with_size(race: Race, network: int) -> str:
    return f"{race.networks[network].parameters:,} parameters"


def answer_sentences(race: Race, steps: dict[int, str]) -> list[str]:
    """What the search found, in one sentence or two."""
    (winner, possible, decisions), target = race.answer(), percent(race.rules.target)
    if not decisions:
        none = f"with {race.rules.seeds} seeds, no network is likely to be shown to reach {target}"
        return [none] if target and race.rules.finalists else []
    found = {"the most accurate finalist": winner}
    if target:
        found = {
            f"smallest network known to hold {target}": winner,
            "smallest finalist not ruled out": possible,
        }
    return [
        f"{name}: {'none' if n is None else f'{with_size(race, n)}, {steps[n]}'}"
        for name, n in found.items()
    ]


def confirmation(step: str) -> tuple[str, str]:
    """Commands for more seeds, and for what all of them say."""
    return (
        f"python -m experiments.train -m step={step} 'seed=range(100,110)'",
        f"python -m experiments.gate step={step}",
    )


def report(race: Race, steps: dict[int, str], folder: Path) -> list[str | tuple]:
    """The end of a search, for `print_report`: counts, finalists, the answer, and what to do
    with it."""
    rows, (winner, _, decisions) = finalists(race, steps), race.answer()
    parts = [run_counts(race), *([(HEADER, rows, HEADER[1:3])] if rows else [])]
    parts += answer_sentences(race, steps)
    if rows:
        parts.append(CLAIM)
    if any(decision.open for decision in decisions.values()):
        parts.append("a finalist that can hardly be the answer any more gets no more seeds")
    if winner is not None:
        parts.append("more seeds make the answer surer:")
        parts += confirmation(steps[winner])
        parts.append(f"its file: {folder / Path(steps[winner]).name}.yaml")
    return parts
