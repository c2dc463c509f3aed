"""The race of a search: which runs come next, and which network wins.

Networks compete in rounds. Each network's runs have the seeds 0, 1, 2 and so on, so that networks
are compared in pairs where they share a seed. After each round a forecast (stats/forecast.py) says
how likely each network is the answer; the next runs go to those that may be, the others drop out.
"""

import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from optuna.trial import FrozenTrial

from experiments.stats.forecast import Run, Stage, answers, draw
from experiments.stats.sequential import Decision, decide, needed
from experiments.stats.target import FAILS, HOLDS

SHORT, FULL, FINAL = range(3)  # a trial; all epochs; all epochs and images, tested
STAGES = Stage(100, 2, 1), Stage(2, 0, 0.3), Stage(0, 0, 0)
FIRST = 8  # networks that are trained in short and in full: they say where a target is crossed
WIDTH = 4  # full runs in a round
UNLIKELY = 0.05  # a chance to be the answer that is not worth a run


class Network(NamedTuple):
    parameters: int
    features: tuple[float, ...]  # about -1 to 1, as many for each network
    trial: FrozenTrial | None = None  # of the study, for others than the race


Results = Mapping[Run, float | None]  # accuracies, 0 to 1; None where training diverged


class Rules(NamedTuple):
    """What is searched, and how much may be trained."""

    target: float | None  # the smallest network that reaches it is wanted; None: the best one
    networks: int  # that are tried
    full: int  # full runs on training images, all together, at most
    finalists: int  # at most
    seeds: int  # of a finalist, at most
    margin: float  # without a target, finalists that are this close are equal


class Answer(NamedTuple):
    """What the last round leaves, networks by their number."""

    winner: int | None  # the smallest known to hold, or without a target the best
    possible: int | None  # the smallest finalist that is not ruled out
    decisions: dict[int, Decision]


class Race(NamedTuple):
    """The state of a race. What comes next follows from it alone, so that whoever has it can go on.
    If the rules allow more than before, it goes on within the new ones."""

    rules: Rules
    networks: Sequence[Network]
    results: Results
    finalists: Collection[int] = ()  # networks whose last round has begun

    def accuracies(self, network: int, stage: int) -> list[float]:
        """Those of a network in a stage, in the order of seeds; without runs that diverged."""
        runs = sorted(run for run in self.results if run[:2] == (network, stage))
        return [value for run in runs if (value := self.results[run]) is not None]

    def finals(self, network: int) -> list[float | None]:
        """The results of a finalist from seed 0 up to the first one that is missing."""
        runs = (Run(network, FINAL, seed) for seed in itertools.count())
        return [self.results[run] for run in itertools.takewhile(self.results.__contains__, runs)]

    def propose(self, pool: Sequence[Network]) -> int:
        """Which of a pool of untried networks is most likely to be the answer."""
        together = chances([*self.networks, *pool], self.results, self.rules)
        return int(together[len(self.networks) :].argmax())

    def rounds(self) -> Iterator[tuple[list[Run], np.ndarray | None]]:
        """The runs of each round before the last one, with the chances of all networks by which
        they were chosen; in the end none, as all others together are the answer with less than
        5 %, or those of which some have no result."""
        count, rules, known = len(self.networks), self.rules, {}
        runs = [Run(n, SHORT, 0) for n in range(count)]
        runs += [Run(n, FULL, 0) for n in range(min(FIRST, rules.full, count))]
        yield sorted(runs), None
        while runs and self.results.keys() >= {*runs}:
            known |= {run: self.results[run] for run in runs}
            counts = Counter(run.network for run in known if run.stage == FULL)
            chance = chances(self.networks, known, rules)
            best = most_likely(chance, WIDTH)
            field = [n for n in best if chance[n] >= UNLIKELY] or best
            if len(field) == 1 and counts[field[0]] and chance.sum() - chance[field[0]] < UNLIKELY:
                field = []  # nothing is left to compare it with
            left = rules.full - counts.total()
            yield (runs := [Run(n, FULL, counts[n]) for n in field[:left]]), chance

    def wanted(self) -> list[Run | None]:
        """The next runs, the most urgent first; None: a new network. Empty: the race is over.
        Several workers each take the first that nobody else works on."""
        if len(self.networks) < self.rules.networks:
            return [*self.missing(next(self.rounds())[0]), None]
        *_, (runs, _) = self.rounds()
        return self.missing(runs) or self.last_round()

    def missing(self, runs: Sequence[Run]) -> list[Run]:
        """Those without a result, but for full ones beyond the number that may be trained."""
        left = self.rules.full - sum(run.stage == FULL for run in self.results)
        missing = [run for run in runs if run not in self.results]
        beyond = [run for run in missing if run.stage == FULL][max(left, 0) :]
        return [run for run in missing if run not in beyond]

    def last_round(self) -> list[Run]:
        """The next runs of finalists, one seed after the other, until every verdict is certain; but
        where one holds, only of smaller ones that may hold too."""
        winner, _, decisions = self.answer()
        rules, chance = self.rules, chances(self.networks, self.results, self.rules)
        places = max(rules.finalists - len(decisions), 0)
        still = [n for n, decision in decisions.items() if decision.open]
        new = [n for n in most_likely(chance, len(chance)) if n not in decisions]
        done = {n: len(self.finals(n)) for n in (*decisions, *new)}
        if rules.target is None:
            if places and new:
                still = new[:places]
            elif still:  # the others are compared with the winner, seed by seed
                still = sorted({*still, winner} - {None}, key=lambda n: (done[n], -chance[n]))
        else:
            new = new[:places] if chance[new].sum() >= UNLIKELY else []
            still = sorted([*still, *new], key=lambda n: -chance[n])
            if winner is not None:  # what is left is to find a smaller one
                limit = self.networks[winner].parameters
                likely = (n for n in still if chance[n] >= UNLIKELY)
                still = [n for n in likely if self.networks[n].parameters < limit]
        following = (Run(n, FINAL, done[n] + more) for more in range(rules.seeds) for n in still)
        return [run for run in following if run.seed < rules.seeds and run not in self.results]

    def answer(self) -> Answer:
        """What the finalists' runs say. With a target, each is judged against it, and all verdicts
        together are right with 95 %. Else each is compared with the most accurate one: it holds
        that this one is worse by no more than the margin."""
        rules = self.rules
        entered = {run.network for run in self.results if run.stage == FINAL} | {*self.finalists}
        values = {n: self.finals(n) for n in sorted(entered)}
        good = {n: found for n, found in values.items() if None not in found}
        decisions = {n: Decision(FAILS, 1, open=False) for n in values if n not in good}  # diverged
        if rules.target is not None:
            for n, found in good.items():
                decisions[n] = decide(found, rules.target, rules.seeds, rules.finalists)
            by_size = sorted(decisions, key=lambda n: self.networks[n].parameters)
            held = (n for n in by_size if decisions[n].verdict == HOLDS)
            left = (n for n in by_size if decisions[n].verdict != FAILS)
            return Answer(next(held, None), next(left, None), decisions)
        ended = (n for n, found in good.items() if found)
        winner = max(ended, key=lambda n: np.mean(good[n]), default=None)
        pairs = max(rules.finalists * (rules.finalists - 1) // 2, 1)
        for n, found in good.items():
            above = [a - b for a, b in zip(good.get(winner, ()), found, strict=False)]
            decisions[n] = decide(above, -rules.margin, rules.seeds, pairs)
        if winner is not None:
            decisions[winner] = Decision(HOLDS, len(good[winner]), open=False)
        return Answer(winner, winner, decisions)


def chances(networks: Sequence[Network], results: Results, rules: Rules) -> np.ndarray:
    """The probability of each network to be the answer: the smallest of which all its seeds would
    show that it reaches the target, or the most accurate one. Networks that diverged have none."""
    known = tuple(network[:2] for network in networks), tuple(sorted(results.items()))
    below = spread = 0.0
    if rules.target is not None and rules.finalists:
        below, spread = needed(rules.seeds, rules.finalists), rules.seeds**-0.5
    return _chances(*known, rules.target, below, spread)


@lru_cache(64)  # every look goes through all rounds
def _chances(
    networks: tuple, results: tuple, target: float | None, below: float, spread: float
) -> np.ndarray:
    diverged = list({run.network for run, accuracy in results if accuracy is None})
    known = {run: accuracy for run, accuracy in results if run.network not in diverged}
    parameters, features = map(np.array, zip(*networks, strict=True))
    accuracies = draw(parameters, features, STAGES, known, below, spread)
    accuracies[:, diverged] = 0
    found = answers(accuracies, parameters, target)
    found[diverged] = 0  # where all are equal, too
    found.flags.writeable = False  # it is cached
    return found


def most_likely(chance: np.ndarray, count: int) -> list[int]:
    """The networks with the highest chances, the highest first; those without any are left out."""
    order = np.argsort(-chance, kind="stable")
    return [int(n) for n in order[:count] if chance[n] > 0]
