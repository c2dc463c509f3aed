"""The race of a search: which runs come next, and which network wins. Numbers only.

Networks compete in rounds. Each network's runs have the seeds 0, 1, 2 and so on, so that networks
are compared in pairs where they share a seed. After each round a forecast (stats/forecast.py) says
how likely each network is the answer; the next runs go to those that may be, the others drop out.
"""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from experiments.stats.forecast import Observed, Stage, answers, draw
from experiments.stats.sequential import Decision, decide
from experiments.stats.verdict import FAILS, HOLDS

SHORT, FULL, FINAL = range(3)  # a trial; all epochs; all epochs and images, tested
STAGES = Stage(100, 2, 1), Stage(2, 0, 0.3), Stage(0, 0, 0)
FIRST = 8  # networks that are trained in short and in full: they say where a target is crossed
WIDTH = 4  # full runs in a round
UNLIKELY = 0.05  # a chance to be the answer that is not worth a run


class Network(NamedTuple):
    """A network as the race knows it; features: about -1 to 1, as many for each network."""

    parameters: int
    features: tuple[float, ...]


class Run(NamedTuple):
    network: int
    stage: int
    seed: int


Results = Mapping[Run, float | None]  # accuracies, 0 to 1; None where training diverged


class Rules(NamedTuple):
    """What is searched, and how much may be trained."""

    target: float | None  # the smallest network that reaches it is wanted; None: the best one
    networks: int  # that are tried
    full: int  # full runs on training images, all together
    finalists: int  # at most
    seeds: int  # of a finalist, at most
    margin: float = 0.0005  # without a target, finalists that are this close are equal


class Answer(NamedTuple):
    """The networks that the last round leaves."""

    winner: int | None  # the smallest known to hold, or without a target the best
    possible: int | None  # the smallest finalist that is not ruled out
    decisions: dict[int, Decision]


def chances(networks: Sequence[Network], results: Results, target: float | None) -> np.ndarray:
    """The probability of each network to be the answer: the smallest that reaches the target, or
    the most accurate one. Networks that diverged have none."""
    return _chances(tuple(networks), tuple(sorted(results.items())), target).copy()


@lru_cache(64)  # every look goes through all rounds
def _chances(networks: tuple, results: tuple, target: float | None) -> np.ndarray:
    diverged = {run.network for run, accuracy in results if accuracy is None}
    known = [(*run, accuracy) for run, accuracy in results if run.network not in diverged]
    parameters, features = map(np.array, zip(*networks, strict=True))
    accuracies = draw(parameters, features, STAGES, [Observed(*one) for one in known])
    accuracies[:, list(diverged)] = 0
    found = answers(accuracies, parameters, target)
    found[list(diverged)] = 0
    return found


def propose(
    networks: Sequence[Network], results: Results, pool: Sequence[Network], target: float | None
) -> int:
    """Which of a pool of untried networks is most likely to be the answer."""
    together = chances([*networks, *pool], results, target)
    return int(together[len(networks) :].argmax())


def wanted(networks: Sequence[Network], results: Results, rules: Rules) -> list[Run | None]:
    """The next runs, the most urgent first; None: a new network. Empty: the race is over.

    It depends on nothing but the results, so that whoever has them can go on. Several workers
    each take the first that nobody else works on.
    """
    first = [Run(n, SHORT, 0) for n in range(len(networks))]
    first += [Run(n, FULL, 0) for n in range(min(FIRST, rules.full, len(networks)))]
    missing: list[Run | None] = sorted(run for run in first if run not in results)
    if len(networks) < rules.networks:
        return [*missing, None]
    if missing:
        return missing
    known = {run: results[run] for run in first}
    left = rules.full - sum(run.stage == FULL for run in first)
    while left > 0:
        field = best(chances(networks, known, rules.target), min(WIDTH, left))
        if not field:
            break
        counts = Counter(run.network for run in known if run.stage == FULL)
        runs = [Run(n, FULL, counts[n]) for n in field]
        if missing := [run for run in runs if run not in results]:
            return missing
        known |= {run: results[run] for run in runs}
        left -= len(runs)
    finals = {run: value for run, value in results.items() if run.stage == FINAL}
    return last_round(networks, known | finals, rules)


def last_round(networks: Sequence[Network], results: Results, rules: Rules) -> list[Run | None]:
    """The next runs of finalists, one seed after the other, until every verdict is certain."""
    winner, _, decisions = answer(networks, results, rules)
    chance = chances(networks, results, rules.target)
    places = rules.finalists - len(decisions)
    still = [n for n, decision in decisions.items() if decision.open]
    new = [n for n in best(chance, len(networks)) if n not in decisions]
    entered = {n: len(finals(results, n)) for n in (*decisions, *new)}
    if rules.target is None:
        if places > 0 and new:
            still = new[:places]
        elif still:  # the others are compared with the winner, seed by seed
            still = sorted({*still, winner} - {None}, key=lambda n: (entered[n], -chance[n]))
    else:
        inside = middle(networks, chance)
        new = [n for n in new if chance[n] >= UNLIKELY]
        new = sorted(new, key=lambda n: n not in inside)[: max(places, 0)]
        still = sorted([*still, *new], key=lambda n: (n not in inside, -chance[n]))
        if winner is not None:
            limit = networks[winner].parameters
            still = [n for n in still if networks[n].parameters < limit]
    following = (
        Run(n, FINAL, entered[n] + more)
        for more, n in itertools.product(range(rules.seeds), still[: rules.finalists])
    )
    return [run for run in following if run.seed < rules.seeds and run not in results]


def answer(networks: Sequence[Network], results: Results, rules: Rules) -> Answer:
    """What the finalists' runs say. With a target, each is judged against it, and all verdicts
    together are right with 95 %. Else each is compared with the most accurate one: it holds that
    this one is worse by no more than the margin."""
    entered = sorted({run.network for run in results if run.stage == FINAL})
    values, arms = {n: finals(results, n) for n in entered}, max(rules.finalists, len(entered))
    good = {n: found for n, found in values.items() if None not in found}
    decisions = {n: Decision(FAILS, 1, open=False) for n in values if n not in good}  # diverged
    if rules.target is not None:
        for n, found in good.items():
            decisions[n] = decide(found, rules.target, rules.seeds, arms)
        verdicts = {n: decision.verdict for n, decision in decisions.items()}
        by_size = sorted(verdicts, key=lambda n: networks[n].parameters)
        held = (n for n in by_size if verdicts[n] == HOLDS)
        left = (n for n in by_size if verdicts[n] != FAILS)
        return Answer(next(held, None), next(left, None), decisions)
    ended = (n for n, found in good.items() if found)
    winner = max(ended, key=lambda n: np.mean(good[n]), default=None)
    pairs = arms * (arms - 1) // 2
    for n, found in good.items():
        above = [a - b for a, b in zip(good.get(winner, ()), found, strict=False)]
        decisions[n] = decide(above, -rules.margin, rules.seeds, max(pairs, 1))
    if winner is not None:
        decisions[winner] = Decision(HOLDS, len(good[winner]), open=False)
    return Answer(winner, winner, decisions)


def best(chance: np.ndarray, count: int) -> list[int]:
    """The networks with the highest chances, the highest first; those without any are left out."""
    order = np.argsort(-chance, kind="stable")
    return [int(n) for n in order[:count] if chance[n] > 0]


def middle(networks: Sequence[Network], chance: np.ndarray) -> set[int]:
    """The networks in the middle half of the answer's sizes: where it is in doubt, one of them
    tells more than the likeliest, which may be at an end."""
    order = np.argsort([network.parameters for network in networks], kind="stable")
    after = chance[order].cumsum() / chance.sum() if chance.any() else np.zeros(len(order))
    inside = (after >= 0.25) & (after - chance[order] / max(chance.sum(), 1e-9) <= 0.75)
    return set(order[inside].tolist())


def finals(results: Results, network: int) -> list[float | None]:
    """The results of a finalist from seed 0 up to the first one that is missing."""
    every = (Run(network, FINAL, seed) for seed in itertools.count())
    return [results[run] for run in itertools.takewhile(results.__contains__, every)]
