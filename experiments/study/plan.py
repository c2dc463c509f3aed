"""What a search will do at most, told before its first run, from its configuration alone."""

import re
from collections import Counter
from contextlib import suppress
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from experiments.cli import tables
from experiments.cli.config import flatten
from experiments.cli.text import percent, pluralize


class Plan(Callback):
    """Prints the plan of a search by several workers, which is one for all of them."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        with suppress(AttributeError, TypeError, ValueError):  # of values that a worker refuses
            print_plan(config, study_name(config, config.hydra), several=True)


def study_name(cfg: DictConfig, hydra: DictConfig) -> str:
    """The name of a study: its own, or that of its search."""
    return cfg.study or hydra.runtime.choices.search


def print_plan(cfg: DictConfig, name: str, several: bool = False) -> None:
    """Say what is searched, within what, by how many runs, and how much training that is."""
    final, aim = cfg.final, "the most accurate network"
    if cfg.smallest_above is not None:
        aim = f"the smallest network that reaches {percent(cfg.smallest_above)}"
    limits = [f"at most {limit:,} {name}" for name, limit in cfg.budget.items() if limit]
    given = {re.sub(r"\.(low|high|step|log)$", "", key): v for key, v in flatten(cfg.space).items()}
    varied = Counter(re.sub(r"\.\d+$", "", key) for key, v in given.items() if v is not None)
    keys = (f"{key} ({count})" if count > 1 else key for key, count in varied.items())
    short = f"{pluralize(cfg.trials, 'network')} with {pluralize(cfg.trainer.max_epochs, 'epoch')}"
    full = f"at most {pluralize(cfg.full, 'full run')} of {pluralize(final.max_epochs, 'epoch')}"
    trials, time = f"{short} each, {full}", f"at most {pluralize(before_finals(cfg), 'epoch')}"
    if final.networks:
        finalists = pluralize(final.networks, "finalist")
        trials += f", then one seed after the other of {finalists} until their verdicts are certain"
        most = final.networks * final.seeds * final.max_epochs
        time += f", and at most {most:,} more for finalists"
    if not several:
        time += "; the time is told as soon as it is known"
    lines = (
        f"search {name}: {aim}",
        f"budget: {', '.join(limits) or 'none'}",
        f"space: {', '.join(keys)}",
        f"trials: {trials}",
        f"time: {time}",
    )
    for line in lines:
        tables.say(line)


def before_finals(cfg: DictConfig) -> int:
    """The epochs of all runs before those of finalists."""
    return cfg.trials * cfg.trainer.max_epochs + cfg.full * cfg.final.max_epochs
