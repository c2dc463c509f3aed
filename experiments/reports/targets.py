"""Checks of the gate, each of one target: those of the cost, and how a build sees all of them."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from jinja2 import Template
from omegaconf import DictConfig

from experiments.budget.cost import cost_of
from experiments.cli.checks import configured
from experiments.cli.compose import search_path
from experiments.cli.files import write
from experiments.cli.keys import key_of
from experiments.cli.tables import markdown, to_markdown
from experiments.cli.text import printable
from experiments.stats.target import HOLDS, MISSED
from experiments.tracking.identity import refuse_part

HEADER, RIGHT = ("step", "target", "asked", "measured", "margin", "verdict"), ("measured", "margin")


class Check(NamedTuple):
    """One target of one step, in texts."""

    step: str
    target: str
    asked: str = ""
    measured: str = ""
    margin: str = ""  # how far the measured is above what was asked
    reason: str = ""  # why it does not hold; empty if it holds
    otherwise: str = MISSED  # the verdict if it does not; NO_VERDICT: there is too little evidence

    @property
    def verdict(self) -> str:
        return self.otherwise if self.reason else HOLDS

    @property
    def cells(self) -> tuple[str, ...]:
        """Its texts in the order of HEADER."""
        return (*self[:5], self.verdict)


def chosen_steps() -> Iterator[tuple[str, DictConfig]]:
    """The chosen step or experiment, or else every step: its name, and its configuration with all
    other overrides of the command line."""
    config = HydraConfig.get()
    choices, loader = config.runtime.choices, GlobalHydra.instance().config_loader()
    group = "experiment" if choices.experiment else "step"
    given = [item for item in config.overrides.task if key_of(item) != group]
    every = loader.get_group_options(group, config_name="gate", overrides=search_path())
    for name in [choices[group]] if choices[group] else every:
        cfg = configured("gate", [f"{group}={name}", *given])
        refuse_part(cfg)
        yield name, cfg


def check_costs(step: str, cfg: DictConfig) -> Iterator[Check]:
    """What the network costs, compared with its limits and its published count."""
    cost = cost_of(cfg, mult_adds=cfg.max_mult_adds is not None)
    limits = {
        "parameters": (cost.parameters, cfg.max_parameters),
        "multiply-adds": (cost.mult_adds, cfg.max_mult_adds),
        "bytes": (cost.bytes, cfg.budget.bytes),
    }
    for name, (count, limit) in limits.items():
        if limit is not None:
            over = f"{count:,} {name} are {count - limit:,} above {limit:,}"
            reason = f"{over}; the largest: {cost.largest}" if count > limit else ""
            found = f"at most {limit:,}", f"{count:,}", f"{limit - count:,}"
            yield Check(step, name, *found, reason)
        elif name == "parameters":
            yield Check(step, name, measured=f"{count:,}")
    published = cfg.published.parameters if (cfg.published or {}).get("step") == step else None
    if published not in (None, cost.parameters):
        asked, measured = f"{published:,}", f"{cost.parameters:,}"
        reason = f"{measured} parameters, {asked} were published"
        reason += "; for another network, set published=null"
        left = f"{published - cost.parameters:,}"
        yield Check(step, "published count", asked, measured, left, reason)


def junit(checks: Sequence[Check], path: Path) -> None:
    """Write a test case for each check: a missed one failed, one without a verdict is an error."""
    checks = [Check(*map(printable, check)) for check in checks]  # XML has no control characters
    template = Path(__file__).with_name("junit.xml").read_text(encoding="utf-8")
    verdicts = [check.verdict for check in checks]
    filled = Template(template, autoescape=True).render(checks=checks, verdicts=verdicts)
    write(path, f"{filled}\n")


def on_github(checks: Sequence[Check]) -> None:
    """In a build on GitHub, annotate the build and add to its summary."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    failed = [check for check in checks if check.reason]
    for check in failed:
        title = _escaped(f"gate: {check.step}, {check.target}", ":,")
        print(f"::error title={title}::{_escaped(check.reason)}")
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        table = to_markdown(HEADER, [check.cells for check in checks], RIGHT)
        reasons = "".join(f"- {markdown(f'{check.step}: {check.reason}')}\n" for check in failed)
        try:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(f"## Gate\n\n{table}\n{reasons}\n")
        except OSError as error:  # the verdict stays what it is
            print(f"warning: GITHUB_STEP_SUMMARY={summary}: {error.strerror}", file=sys.stderr)


def _escaped(text: str, more: str = "") -> str:
    """Percent signs, line ends and the characters of `more`, as GitHub's commands want them."""
    return "".join(f"%{ord(c):02X}" if c in "%\r\n" + more else c for c in text)
