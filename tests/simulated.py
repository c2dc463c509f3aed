"""How often intervals and verdicts are right, on generated arms whose truth is known.

python -m tests.simulated writes docs/statistics.md
"""

import gc
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.stats.intervals import interval, over_images
from experiments.stats.sequential import Decision, decide
from experiments.stats.verdict import Difference, difference, holm, more_seeds

PAGE = Path(__file__).parents[1] / "docs" / "statistics.md"
RUNS = PAGE.parents[1] / "evidence" / "runs.csv"  # of the ladder, ten seeds of each step
TRUTH, DEVIATION = 0.993, 0.0005  # of an arm: its accuracy, and how far seeds are apart
MARGIN, SMALLEST = 0.0005, 0.001  # the defaults of conf/gate.yaml and conf/compare.yaml
IMAGES, STEPS, TRIALS = 10_000, 12, 400
SEEDS = 3, 5, 10
MOST = 5, 10, 20  # seeds of a sequential verdict
ARMS = 3  # finalists of a search

ROWS = {  # what a figure is, and what it should be
    "interval": ("interval of a mean over seeds covers the truth", "95 %"),
    "images": ("interval over seeds and images covers the truth", "95 %"),
    "seeds_only": ("for comparison: interval over seeds only covers what new images give", ""),
    "paired": ("interval of a paired difference covers the truth", "95 %"),
    "welch": ("interval of Welch's difference covers the truth", "95 %"),
    "single": ("nothing differs: a comparison gets a verdict", "5 %"),
    "ladder": (f"nothing differs: one verdict or more in a table of {STEPS}", ""),
    "ladder_holm": ("the same, after Holm's correction", "at most 5 %"),
    "at_margin": ("lower by the margin: still called no worse, paired", "5 %"),
    "at_margin_welch": ("the same, Welch", "5 %"),
    "equal": ("nothing differs: called no worse, paired", ""),
    "advised_false": ("nothing differs: a verdict once the advised seeds are trained", "5 %"),
    "either_false": ("the same, if a verdict before that counts too", ""),
    "advised_true": (f"{100 * SMALLEST:.1f} points apart: a verdict once they are trained", "80 %"),
}

SEQUENTIAL = {
    "at_target": ("at its target: called above it", "at most 5 %"),
    "at_target_below": ("at its target: called below it", "at most 5 %"),
    "arms": (f"{ARMS} arms at their targets: any of them called above it", "at most 5 %"),
    "at_target_real": ("one arm at its target, seeds distributed as the ladder's: above it", "5 %"),
    "each_look": ("for comparison: the usual t test at each look, one arm", ""),
    "at_margin": ("lower by the margin: called no worse, paired", "at most 5 %"),
    "equal": ("nothing differs: called no worse by the margin, paired", ""),
    "equal_seeds": ("seeds that this takes, in the mean", ""),
    "above": (f"{100 * SMALLEST:.1f} points above its target: called above it", ""),
    "above_seeds": ("seeds that this takes, in the mean", ""),
}


def simulate_sequential(most: int, trials: int = 2 * TRIALS) -> dict[str, float]:
    """The figures of SEQUENTIAL, as fractions of `trials` or as numbers of seeds.

    Accuracies are multiples of 0.01 points, as 10,000 images give them.
    """
    rng, scores = np.random.default_rng(most), pd.read_csv(RUNS).groupby("step")["val/acc"]
    real = scores.transform(lambda seeds: (seeds - seeds.mean()) / seeds.std()).to_numpy()
    found: dict[str, list[float]] = {key: [] for key in SEQUENTIAL}

    def values(above: float = 0, deviation: float = DEVIATION) -> np.ndarray:
        return rng.normal(above, deviation, most).round(4)

    def says(one: Decision, verdict: str = "holds") -> bool:
        return one.verdict == verdict

    for _ in range(trials):
        arms = [decide(values(), 0, most, ARMS) for _ in range(ARMS)]
        found["arms"].append(any(map(says, arms)))
        single = values()
        found["at_target"].append(says(decide(single, 0, most)))
        found["at_target_below"].append(says(decide(single, 0, most), "fails"))
        apart_as_real = DEVIATION * rng.choice(real, most)
        found["at_target_real"].append(says(decide(apart_as_real, 0, most)))
        looks = [interval(list(single[:n])) for n in range(3, most + 1)]
        found["each_look"].append(any(not one.low <= 0 <= one.high for one in looks))
        apart = np.sqrt(2) * DEVIATION  # two arms, seed by seed
        found["at_margin"].append(says(decide(values(-MARGIN, apart), -MARGIN, most)))
        for key, one in (
            ("equal", decide(values(0, apart), -MARGIN, most)),
            ("above", decide(values(SMALLEST), 0, most)),
        ):
            found[key].append(says(one))
            found[f"{key}_seeds"].append(one.n)
    return {key: float(np.mean(each)) for key, each in found.items()}


def simulate(n: int, trials: int = TRIALS, images: int = IMAGES) -> dict[str, float]:
    """The figures of ROWS, as fractions of `trials`, for arms of n seeds."""
    rng = np.random.default_rng(n)
    gc.freeze()  # statsmodels collects garbage in every call, which takes long in a large process
    found: dict[str, list[bool]] = {key: [] for key in ROWS}
    for _ in range(trials):
        arms = draw(rng, n, STEPS + 1)
        _, low, high, _ = interval(list(arms[0].values()))
        found["interval"].append(low <= TRUTH <= high)
        table = mistakes(rng, n, images)
        for key, (_, low, high, _) in (
            ("images", over_images(table)),
            ("seeds_only", interval(list(1 - table.mean(axis=1)))),
        ):
            found[key].append(low <= TRUTH <= high)
        steps = [difference(*arms[place : place + 2]) for place in range(STEPS)]
        found["paired"] += [one.low <= 0 <= one.high for one in steps]
        found["single"] += [tells(one) for one in steps]
        found["ladder"].append(any(map(tells, steps)))
        corrected = zip(steps, holm([one.p for one in steps]), strict=True)
        found["ladder_holm"].append(any(one.corrected(p) != "cannot tell" for one, p in corrected))
        before, after = draw(rng, n, 2)
        welch = difference(before, apart(after))
        found["welch"].append(welch.low <= 0 <= welch.high)
        found["equal"].append(difference(before, after).no_worse(MARGIN) == "holds")
        lower = {seed: value - MARGIN for seed, value in after.items()}
        for key, arm in (("at_margin", lower), ("at_margin_welch", apart(lower))):
            found[key].append(difference(before, arm).no_worse(MARGIN) == "holds")
        for key, shift in (("false", 0.0), ("true", SMALLEST)):
            first, second = with_more(rng, n, shift)
            found[f"advised_{key}"].append(tells(second))
            if not shift:
                found["either_false"].append(tells(first) or tells(second))
    gc.unfreeze()
    return {key: float(np.mean(values)) for key, values in found.items()}


def tells(found: Difference) -> bool:
    return found.verdict != "cannot tell"


def draw(rng: np.random.Generator, n: int, arms: int, first: int = 0) -> list[dict[int, float]]:
    """Arms of n seeds, from the seed `first` on, of which none is better."""
    values = rng.normal(TRUTH, DEVIATION, (arms, n))
    return [dict(enumerate(arm, first)) for arm in values.tolist()]


def apart(arm: Mapping[int, float]) -> dict[int, float]:
    """The arm with other seeds, so that it is not paired."""
    return {seed + 10_000: value for seed, value in arm.items()}


def with_more(rng: np.random.Generator, n: int, shift: float) -> tuple[Difference, Difference]:
    """What n seeds say, and what they say with the advised ones; the second arm is higher."""
    before, after = draw(rng, n, 2)
    after = {seed: value + shift for seed, value in after.items()}
    first = difference(before, after)
    if not (more := more_seeds(first, SMALLEST)):
        return first, first
    others = draw(rng, more, 2, first=n)
    later = {seed: value + shift for seed, value in others[1].items()}
    return first, difference(before | others[0], after | later)


def mistakes(rng: np.random.Generator, n: int, images: int) -> np.ndarray:
    """Whether n new seeds are wrong about new images, bool (n, images); they are right in TRUTH.

    A few images are hard for every seed, and a seed is better or worse on all of them: the
    probability is the product of both.
    """
    wrong, top, spread = 1 - TRUTH, 0.85, 0.12
    image = top * rng.beta(0.02, 0.02 * (top / wrong - 1), images)
    seed = rng.uniform(1 - spread, 1 + spread, (n, 1))
    return rng.random((n, images)) < image * seed


def page() -> str:
    with ProcessPoolExecutor() as pool:
        columns = list(pool.map(simulate, SEEDS))
        sequential = list(pool.map(simulate_sequential, MOST))
    lines = [
        "# How often the claims are right",
        "",
        "Arms were generated whose truth is known, and judged by the functions that `compare` and",
        "`gate` use (`experiments/stats`). This page is made by `python -m tests.simulated`; a",
        f"short form of it runs in `make test`. {TRIALS:,} arms, pairs or tables of {STEPS}",
        f"comparisons for each number of seeds; an accuracy of {100 * TRUTH:.1f} %, a deviation",
        f"between seeds of {100 * DEVIATION:.2f} points, a margin of {100 * MARGIN:.2f} points;",
        f"{IMAGES:,} images, of which a few are hard for every seed.",
        "",
        f"| | should be | {' | '.join(f'{n} seeds' for n in SEEDS)} |",
        "|---|---|" + "---:|" * len(SEEDS),
    ]
    for key, (text, wanted) in ROWS.items():
        figures = " | ".join(f"{100 * column[key]:.1f} %" for column in columns)
        lines.append(f"| {text} | {wanted} | {figures} |")
    lines += ["", *HOW, "", *MORE, ""]
    lines.append(f"| | should be | {' | '.join(f'at most {n} seeds' for n in MOST)} |")
    lines.append("|---|---|" + "---:|" * len(MOST))
    for key, (text, wanted) in SEQUENTIAL.items():
        shown = "{:.1f}" if key.endswith("_seeds") else "{:.1%}"
        figures = " | ".join(shown.format(column[key]).replace("%", " %") for column in sequential)
        lines.append(f"| {text} | {wanted} | {figures} |")
    lines += ["", *SOURCES, ""]
    return "\n".join(lines)


HOW = """
A figure of 5 % or 95 % is exact to about 2 points (two standard errors). What the rows say:

- **Two sources of doubt.** The interval over seeds says what other seeds reach on *these* test
  images. What seeds reach on *new* images is less certain; only the interval over seeds and
  images covers that. It is a little wide for three seeds.
- **Many comparisons.** A verdict errs in 5 % of comparisons where nothing differs, so that a
  whole table often has a wrong one. Holm's correction keeps this at 5 % of tables.
- **No worse.** The test is one-sided: a network that is lower by just the margin is called no
  worse in 5 % of cases. How often an equal one is called so depends on the seeds; few seeds
  mostly cannot tell, which in the gate is exit status 2.
- **More seeds.** The advice follows from the deviation and the smallest difference that matters,
  not from the observed one. Train the advised seeds, then look: a verdict that is taken sooner
  adds its own errors, as the table shows. The deviation of three seeds is itself uncertain,
  so look at the advice again afterwards.
""".strip().splitlines()

MORE = f"""
## While seeds are added

A search adds seeds to its finalists one by one, and `until_verdict` to the arms of a sweep; each
looks after every seed from the third on. `experiments/stats/sequential.py` makes each look so
strict that all of them together err in 5 % of cases. {2 * TRIALS:,} arms each, with the deviation
of above.
""".strip().splitlines()

SOURCES = """
The usual t test, looked at again and again, errs far more often than it says. Accuracies
may be skewed, as bad seeds may lie further off than good ones. To be on the safe side, the level
of a look is drawn with errors that are log-normal, by 15 % (steps of the ladder have 5 to 15 %).
For seeds distributed as the ladder's 120 runs, verdicts above the target then err in 5 %; with a
level for normal accuracies they did in 7 %, which may be chance: 120 normal seeds give 4 to 8 %.
The price of looking is that a small difference takes some more seeds; a large one takes four or
five.

Methods: Student's and Welch's t intervals (scipy); Holm (1979), Scandinavian Journal of
Statistics 6 (statsmodels); non-inferiority as in Piaggio et al. (2012), JAMA 308(24); seeds and
images as crossed random effects, the variance of the mean as in Owen (2007), The pigeonhole
bootstrap, Annals of Applied Statistics 1(2), degrees of freedom by Satterthwaite (1946),
Biometrics Bulletin 2(6); looks as in Pocock (1977), Biometrika 64(2), for the t test as in
Jennison and Turnbull (2000), Group Sequential Methods with Applications to Clinical Trials.
""".strip().splitlines()

if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
