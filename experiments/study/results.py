"""The results of a search as text, and as metrics and files of its MLflow run."""

import tempfile
from collections import Counter
from pathlib import Path

from mlflow.entities import Param
from omegaconf import DictConfig, OmegaConf
from optuna import Study
from pandas import DataFrame

from experiments.cli import tables
from experiments.cli.config import flatten
from experiments.cli.text import measured, percent
from experiments.stats.intervals import interval
from experiments.stats.verdict import CANNOT_TELL, FAILS, HOLDS
from experiments.study.figures import draw
from experiments.study.proposals import Found
from experiments.study.race import FINAL, FULL, SHORT, Answer, Rules, answer, chances
from experiments.tracking.store import STUDY, STUDY_ID, Store

LOGGED = ["trials", "full", "smallest_above", "final", "sampler", "budget", "trainer", "seed"]
NAMES = "short", "full", "final"  # of the stages


def study_run(name: str, identifier: str, cfg: DictConfig, store: Store) -> str:
    """The id of a study's MLflow run, above those of its trials; created where there is none, and
    restored where it was deleted."""
    if found := store.revived({STUDY_ID: identifier, "kind": "study"}):
        return found[0].info.run_id
    tags = {STUDY: name, STUDY_ID: identifier, "kind": "study"}
    tags["mlflow.source.name"] = "experiments.search"
    run = store.client.create_run(store.experiment_id, tags=tags, run_name=f"search {name}")
    settings = flatten(OmegaConf.masked_copy(cfg, LOGGED))
    settings |= {f"space.{key}": values for key, values in cfg.space.items()}
    params = [Param(key, str(value)) for key, value in settings.items()]
    store.client.log_batch(run.info.run_id, params=params)
    store.client.set_terminated(run.info.run_id)  # nothing runs in it
    return run.info.run_id


def to_frame(found: Found, target: float | None) -> DataFrame:
    """A row for each network: its chance to be the answer, its accuracies, its values by key."""
    chance = chances(found.networks, found.results, target)
    rows = []
    for number, trial in enumerate(found.trials):
        row = {
            "trial": trial.number,
            "parameters": found.networks[number].parameters,
            "chance": round(float(chance[number]), 3),
        }
        for stage, name in enumerate(NAMES):
            row[name] = " ".join(f"{one:.4f}" for one in found.accuracies(number, stage))
        rows.append(row | trial.params)
    return DataFrame(rows)


def log_study(
    study: Study, store: Store, parent: str, found: Found, rules: Rules, text: str
) -> None:
    """Attach metrics, figures, the table of networks and the report to the study's MLflow run."""
    with tempfile.TemporaryDirectory() as temporary:
        draw(study, found, Path(temporary))
        table = to_frame(found, rules.target).set_index("trial")
        tables.without_formulas(table).to_csv(Path(temporary, "trials.csv"))
        Path(temporary, "report.txt").write_text(text, encoding="utf-8")
        store.patiently(store.client.log_artifacts, parent, temporary)
    winner = answer(found.networks, found.results, rules).winner
    stages = Counter(run.stage for run in found.results)
    metrics = {f"runs/{name}": stages[stage] for stage, name in enumerate(NAMES)}
    metrics["networks"] = len(found.networks)
    if winner is not None:
        metrics["final/parameters"] = found.networks[winner].parameters
        metrics["final/acc_mean"] = interval(found.accuracies(winner, FINAL)).mean
    for name, value in metrics.items():
        store.patiently(store.client.log_metric, parent, name, value)
    store.patiently(store.client.set_terminated, parent)


def report(found: Found, rules: Rules, result: Answer, steps: dict[int, str]) -> str:
    """The counts, so that nobody takes the best of many for a mean; the finalists as a table; and
    the answer.

    Args:
        steps: the names of the finalists' step files.
    """
    stages = Counter(run.stage for run in found.results)
    rejected = sum(trial.user_attrs["rejected"] for trial in found.trials)
    text = (
        f"{len(found.networks):,} networks tried: {stages[SHORT]:,} short runs, "
        f"{stages[FULL]:,} full ones, {stages[FINAL]:,} of {len(result.decisions)} finalists; "
        f"{rejected:,} proposals rejected before training"
    )
    if not result.decisions:
        unlikely = rules.target and rules.finalists
        return text + (f"\nnone is likely to reach {percent(rules.target)}" if unlikely else "")
    winner, possible, decisions = result
    named = {n: f"{found.networks[n].parameters:,} parameters, {step}" for n, step in steps.items()}
    rows = []
    for n in sorted(decisions, key=lambda n: (n != winner, found.networks[n].parameters)):
        values = found.accuracies(n, FINAL)
        mean = "diverged" if decisions[n].verdict == FAILS else ""
        mean = measured(interval(values)) if values else mean
        rows.append((named[n], str(len(values)), mean, verdict(n, result, rules)))
    header = "finalist", "seeds", "mean, 95 % interval", "verdict"
    text += f"\n{tables.to_text(header, rows, right=header[1:3])}"
    if rules.target is None:
        text += f"the most accurate finalist: {named.get(winner, 'none')}"
    else:
        text += f"smallest network known to hold {percent(rules.target)}: "
        text += f"{named.get(winner, 'none')}\n"
        text += f"smallest finalist not ruled out: {named.get(possible, 'none')}"
    text += "\nall verdicts together are right with 95 %, over all looks and finalists"
    if winner is not None:
        again = f"python -m experiments.train -m step={steps[winner]} 'seed=range(100,110)'"
        text += f"; seeds that chose nothing give an unbiased mean:\n{again}"
    return text


def verdict(finalist: int, result: Answer, rules: Rules) -> str:
    """What was found of a finalist, in words."""
    found = result.decisions[finalist].verdict
    if rules.target is not None:
        words = {HOLDS: "reaches", FAILS: "misses", CANNOT_TELL: "cannot tell whether it reaches"}
        return f"{words[found]} {percent(rules.target)}"
    if finalist == result.winner:
        return "the highest mean"
    close = f"better than the first by {100 * rules.margin:.2f} points"
    return {HOLDS: f"not {close}", FAILS: close, CANNOT_TELL: CANNOT_TELL}[found]
