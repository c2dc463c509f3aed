"""Searches replayed on a table of real runs (tests/tabular.csv), and on made ones.

PYTHONPATH=.:tests python tests/replay.py table 100 150    # what each finds, seeds 100 to 149
PYTHONPATH=.:tests python tests/replay.py table 100 150 12 8  # with 12 networks and 8 full runs
PYTHONPATH=.:tests python tests/replay.py null 0 300       # how often the race errs
"""

import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import NamedTuple

import numpy as np
import optuna
import tabular
from optuna.distributions import CategoricalDistribution, FloatDistribution

from experiments.stats.intervals import interval
from experiments.study.race import (
    FINAL,
    FIRST,
    FULL,
    SHORT,
    Network,
    Race,
    Rules,
)

FINALISTS, SEEDS, MARGIN, POOL = 3, 20, 0.0005, 24


class Surface:
    """Networks whose true accuracies are known, and runs of them.

    Attributes:
        parameters, features: [networks], [networks, features].
        truth: the mean accuracy of full runs of each network.
        points: the values of each network by key, as a sampler proposes them.
        epochs: of a run in each stage.
    """

    def __init__(self, seed: int) -> None:
        self.rng, self.runs = np.random.default_rng(seed), {}
        self.make()

    def curve(self, network: int, stage: int, seed: int) -> list[float]:
        """The accuracy after each epoch; the same for the same arguments."""
        key = network, min(stage, 3), seed
        if key not in self.runs:
            self.runs[key] = self.train(*key)
        return self.runs[key]

    def smallest(self, target: float) -> int:
        return self.parameters[self.truth >= target].min()


class Table(Surface):
    """The networks of tests/tabular.csv. A short run is a real one. A full run is the mean of the
    network's real ones, and the deviation from its mean that a real run of one of the networks
    nearest in accuracy has: searches need more seeds than there are."""

    epochs, near = (tabular.SHORT, tabular.FULL, tabular.FULL), 12

    def make(self) -> None:
        runs = defaultdict(lambda: defaultdict(dict))
        for row in tabular.read():
            runs[row.shape, row.scale, row.parameters][row.epochs][row.seed] = row.accuracies
        self.parameters = np.array([size for _, _, size in runs])
        self.points = [{"shape": shape, "scale": scale} for shape, scale, _ in runs]
        shapes = sorted({shape for shape, _, _ in runs})
        self.features = np.array([[float(s == shape) for s in shapes] for shape, _, _ in runs])
        self.short, full = (
            np.array([[found[epochs][seed] for seed in range(tabular.SEEDS)] for found in kinds])
            for epochs, kinds in ((e, runs.values()) for e in self.epochs[:2])
        )  # [networks, seeds, epochs]
        self.means = full.mean(axis=1)
        self.truth = self.means[:, -1]
        self.residuals = (full - self.means[:, None]) * (tabular.SEEDS / (tabular.SEEDS - 1)) ** 0.5
        self.order = self.rng.permutation(tabular.SEEDS)

    def train(self, network: int, stage: int, seed: int) -> list[float]:
        if stage == SHORT:
            return self.short[network, self.order[seed % tabular.SEEDS]].tolist()
        nearest = np.argsort(abs(self.truth - self.truth[network]))[: self.near]
        other = self.residuals[self.rng.choice(nearest), self.rng.integers(tabular.SEEDS)]
        return (self.means[network] + other).tolist()


class Made(Surface):
    """Errors that fall with size by an unknown slope, with an effect of 0.06 points for each
    network and noise of 0.06 between seeds."""

    epochs = 2, 15, 15

    def make(self, networks: int = 200, shapes: int = 8) -> None:
        draw = self.rng
        size = draw.uniform(np.log(900), np.log(7000), networks)
        shape = draw.integers(0, shapes, networks)
        self.parameters, self.features = np.exp(size).astype(int), np.eye(shapes)[shape]
        self.points = [
            {"shape": str(s), "scale": float(x)} for s, x in zip(shape, size, strict=True)
        ]
        slope = draw.uniform(-0.6, -0.3)
        log = np.log(0.006) + slope * (size - np.log(3000)) + draw.normal(0, 0.1, shapes)[shape]
        self.log = log + draw.normal(0, 0.1, networks)
        self.truth = 1 - np.exp(self.log)
        self.short, self.shift = draw.normal(0, 0.1, networks), draw.normal(0.25, 0.05)

    def train(self, network: int, stage: int, seed: int) -> list[float]:
        log = self.log[network] + self.rng.normal(0, 0.1)
        if stage == SHORT:
            return [1 - np.exp(log + self.shift + 1.1 + self.short[network])] * 2
        left = np.log(15 / np.arange(1, 16)) * 0.6 + self.rng.normal(0, 0.15, 15)
        left[-1] = 0
        return (1 - np.exp(log + self.shift * (stage == FULL) + left)).tolist()


class AtTarget(Made):
    """Networks of which each has just the accuracy of the target, so that none is above it."""

    def make(self) -> None:
        super().make()
        self.log[:] = np.log(0.006) - 0.1**2 / 2  # the mean of a log-normal error is 0.006
        self.truth[:] = 0.994


class Outcome(NamedTuple):
    """What a search names, or None; and what it spent."""

    winner: int | None
    epochs: int


def race(surface: Surface, rules: Rules, seed: int) -> Outcome:
    """The race as a worker runs it, one run after the other."""
    rng = np.random.default_rng(seed)
    tried, networks, results = [], [], {}

    def network(number: int) -> Network:
        return Network(int(surface.parameters[number]), tuple(surface.features[number]))

    while runs := Race(rules, networks, results).wanted():
        if runs[0] is None:
            rest = np.setdiff1d(np.arange(len(surface.truth)), tried)
            pool = rng.permutation(rest)[:POOL]
            place = 0
            if len(networks) >= FIRST:
                place = Race(rules, networks, results).propose([network(n) for n in pool])
            tried.append(int(pool[place]))
            networks.append(network(tried[-1]))
        else:
            run = runs[0]
            results[run] = surface.curve(tried[run.network], run.stage, run.seed)[-1]
    found = Race(rules, networks, results).answer()
    winner = None if found.winner is None else tried[found.winner]
    return Outcome(winner, sum(surface.epochs[run.stage] for run in results))


def optuna_search(
    surface: Surface,
    target: float | None,
    epochs: int,
    seed: int,
    sampler: str,
    pruner: optuna.pruners.BasePruner,
    careful: bool = False,
    seeds: int = 5,
) -> Outcome:
    """One full run with a seed of its own for each proposal, stopped by a pruner; then some seeds
    of the three best, of which the smallest whose interval is above the target is named: the
    search of version 1, with five. It begins no trial that `epochs`, finals included, do not allow.

    Args:
        careful: stop a trial only where a network no larger was as accurate, as version 1 did.
    """
    make = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}[sampler]
    study = optuna.create_study(direction="maximize", sampler=make(seed=seed), pruner=pruner)
    shapes = sorted({point["shape"] for point in surface.points})
    scales = [point["scale"] for point in surface.points]
    space = {
        "shape": CategoricalDistribution(shapes),
        "scale": FloatDistribution(min(scales), max(scales)),
    }
    spent, tried, full = 3 * seeds * surface.epochs[FINAL], {}, surface.epochs[FULL]
    seen: list[tuple[int, int, float]] = []  # parameters, epoch, accuracy
    while spent + full <= epochs:
        trial = study.ask(space)
        near = [
            abs(point["scale"] - trial.params["scale"])
            + 1e9 * (point["shape"] != trial.params["shape"])
            for point in surface.points
        ]
        number = int(np.argmin(near))
        for epoch, accuracy in enumerate(surface.curve(number, 3, trial.number), 1):
            spent += 1
            trial.report(accuracy, epoch)
            size = int(surface.parameters[number])
            dominated = any(s <= size and e == epoch and a >= accuracy for s, e, a in seen)
            seen.append((size, epoch, accuracy))
            if epoch < full and (dominated or not careful) and trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            reached = target is not None and accuracy >= target
            score = 1 + 1 / surface.parameters[number] if reached else accuracy
            study.tell(trial, score)
            tried[number] = max(score, tried.get(number, 0))
    best = sorted(tried, key=lambda number: -tried[number])[:3]
    finals = {n: interval([surface.curve(n, FINAL, s)[-1] for s in range(seeds)]) for n in best}
    if target is None:
        return Outcome(max(finals, key=lambda n: finals[n].mean, default=None), spent)
    held = [n for n in finals if finals[n].low >= target]
    return Outcome(min(held, key=lambda n: surface.parameters[n], default=None), spent)


def searches(target: float | None, networks: int, full: int) -> dict[str, Callable[..., Outcome]]:
    rules = Rules(target, networks, full, FINALISTS, SEEDS, MARGIN)
    pruners = optuna.pruners
    few = {"n_startup_trials": 10, "n_warmup_steps": 2}
    found = {"race": lambda surface, epochs, seed: race(surface, rules, seed)}
    for name, sampler, pruner, seeds in (
        ("before (TPE, percentile)", "tpe", pruners.PercentilePruner(67.0, **few), 5),
        ("TPE, median", "tpe", pruners.MedianPruner(**few), 5),
        ("TPE, hyperband", "tpe", pruners.HyperbandPruner(), 5),
        ("TPE, hyperband, ten seeds", "tpe", pruners.HyperbandPruner(), 10),
        ("random", "random", pruners.NopPruner(), 5),
        ("random, ten seeds", "random", pruners.NopPruner(), 10),
    ):
        options = {"careful": name.startswith("before"), "seeds": seeds}
        found[name] = partial(optuna_search, sampler=sampler, pruner=pruner, **options)
    return found


def replay(
    kind: type[Surface],
    share: float,
    networks: int,
    full: int,
    seed: int,
    only: Collection[str] = (),
) -> dict[str, tuple]:
    """What each search names on one surface: its size over that of the smallest that reaches the
    target (infinite for none, or one that does not), whether the name is true, and epochs.

    Args:
        share: of the networks that reach the target.
        only: these searches; none: all.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    surface = kind(seed)
    target = float(np.quantile(surface.truth, 1 - share))
    rows, spent = {}, 0
    for name, search in searches(target, networks, full).items():
        if only and name not in only:
            continue
        for times in (1, 3) if name.startswith("before") else (1,):
            kwargs = {} if name == "race" else {"target": target}
            winner, epochs = search(surface, epochs=times * spent, seed=seed, **kwargs)
            spent = spent or epochs
            true = winner is not None and surface.truth[winner] >= target
            ratio = surface.parameters[winner] / surface.smallest(target) if true else np.inf
            rows[name, times] = ratio, winner is not None, true, epochs
    return rows


def compare(
    kind: type[Surface],
    seeds: Iterable[int],
    share: float = 0.3,
    networks: int = 30,
    full: int = 16,
    only: Collection[str] = (),
) -> dict[tuple[str, int], tuple[float, ...]]:
    """For each search: the median ratio of sizes, how often a network is named, how many of the
    names are true, the median of the epochs, and in how many replays the race named a smaller
    network, and a larger one."""
    found = [replay(kind, share, networks, full, seed, only) for seed in seeds]
    table, raced = {}, np.array([one["race", 1][0] for one in found])
    for key in found[0]:
        ratio, named, true, epochs = zip(*(one[key] for one in found), strict=True)
        table[key] = (
            np.median(ratio),
            np.mean(named),
            sum(true) / max(1, sum(named)),
            np.median(epochs),
            int((raced < ratio).sum()),
            int((raced > ratio).sum()),
        )
    return table


if __name__ == "__main__":
    kind = {"table": Table, "made": Made, "null": AtTarget}[sys.argv[1]]
    only = ("race",) if kind is AtTarget else ()
    first, last, *sizes = map(int, sys.argv[2:])
    for key, row in compare(kind, range(first, last), 0.3, *sizes, only=only).items():
        print(*key, *(f"{x:.2f}" for x in row[:4]), *row[4:], sep="\t")
