"""The results of a search: as text and as a page, and in its MLflow run."""

import shlex
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from optuna import Study
from optuna.importance import get_param_importances
from pandas import DataFrame

from experiments.cli import tables
from experiments.cli.compose import search_path
from experiments.cli.keys import key_of
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
PLACES = "tracking.uri", "tracking.artifacts", "checkpoints.root"  # of runs


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
        target=race.rules.target,
        pareto=drawn(charts.pareto, full, final),
        rounds=rounds(race),
        networks=(list(shown), shown.to_numpy().tolist()),
        importances=importances,
    )


def rounds(race: Race) -> list[str]:
    """Which networks ran in each round, and which left the race, with their chances; and what
    became of each finalist, in the order in which they entered."""

    def listed(networks: Iterable[int], chance: np.ndarray) -> str:
        return ", ".join(f"{trial_name(race, n)} ({likely(chance[n])})" for n in networks)

    texts, before, decisions = [], [], race.answer().decisions
    verdicts = dict(zip(ordered(race), finalists(race, dict.fromkeys(decisions, "")), strict=True))
    for runs, chance in race.rounds():
        field = list(dict.fromkeys(run.network for run in runs if run.stage == FULL))
        if chance is None:
            text = f"{pluralize(len(race.networks), 'network')} in short"
            text += f", the first {len(field)} in full as well" if field else ""
        else:
            text = "the finals" if decisions else "the end"
            text = f"in full: {listed(field, chance)}" if runs else text
            left = sorted({*before} - {*field, *decisions})
            if left and (runs or decisions):
                text += f"; out: {listed(left, chance)}"
        texts.append(text)
        before = field or before
        if chance is not None and not runs:
            for n in sorted(decisions, key=[*race.finalists, *decisions].index):
                _, seeds, mean, verdict = verdicts[n]
                closed = ", no more seeds" if decisions[n].open else ""
                after = f"{pluralize(int(seeds), 'seed')}, {mean}, {verdict}{closed}"
                texts.append(f"finalist: {trial_name(race, n)} ({likely(chance[n])}): {after}")
    return texts


def likely(chance: float) -> str:
    """A forecast's chance in words: "41 %"; never none, and never certainty."""
    return "< 1 %" if chance < 0.01 else "> 99 %" if chance > 0.99 else f"{100 * chance:.0f} %"


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


def ordered(race: Race) -> list[int]:
    """The finalists: the winner first, then by size."""
    winner, _, decisions = race.answer()
    return sorted(decisions, key=lambda n: (n != winner, race.networks[n].parameters))


def finalists(race: Race, steps: dict[int, str]) -> list[tuple[str, ...]]:
    """A row for each finalist, in the order of HEADER, the winner first."""
    (winner, _, decisions), target, rows = race.answer(), percent(race.rules.target), []
    close = f"better than the first by {100 * race.rules.margin:.2f} points"
    words = {HOLDS: f"not {close}", FAILS: close, CANNOT_TELL: CANNOT_TELL}
    if target:
        words = {verdict: on_target(verdict, target) for verdict in words}
    for n in ordered(race):
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
        return unreached(race) if target and race.rules.finalists else []
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


def unreached(race: Race) -> list[str]:
    """That no network is likely to reach the target, how near one came, and what may help."""
    diverged = {run.network for run, accuracy in race.results.items() if accuracy is None}
    means = {n: race.accuracies(n, FULL) for n in range(len(race.networks)) if n not in diverged}
    means = {n: values for n, values in means.items() if values}
    best = max(means, key=lambda n: np.mean(means[n]), default=None)
    texts = [
        f"with {pluralize(race.rules.seeds, 'seed')}, no network is likely to be shown to reach "
        f"{percent(race.rules.target)}"
    ]
    if best is not None:
        mean = percent(float(np.mean(means[best])))
        seeds = pluralize(len(means[best]), "full run")
        nearest = f"{trial_name(race, best)}, {with_size(race, best)}, {mean} in {seeds}"
        texts.append(f"the nearest: {nearest}, judged by images held out")
    return [
        *texts,
        "a larger trials= goes on; a lower smallest_above=, a larger final.max_epochs= or "
        "another space needs another name, study=NAME",
    ]


def confirmation(step: str) -> tuple[str, str]:
    """Commands for more seeds, and for what all of them say, in the places of this search."""
    given = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    places = [item for item in given if key_of(item) in PLACES] + search_path()
    more = ["python", "-m", "experiments.train", "-m", f"step={step}", "seed=range(100,110)"]
    gate = ["python", "-m", "experiments.gate", f"step={step}"]
    return shlex.join(more + places), shlex.join(gate + places)


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
