"""Hold the steps to their targets; the exit status is for a build to act on.

python -m experiments.gate stage=budget

0: all hold. 1: one is missed. 2: there is nothing to hold them against, or the
configuration is wrong.
"""

import sys
from collections.abc import Iterator
from typing import NamedTuple

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments.program import UserError, program

MISSED, NO_VERDICT = 1, 2


class Row(NamedTuple):
    """A step's parameter count, what was published, its limit, and the reasons it fails."""

    step: str
    parameters: int
    published: int | None
    limit: int | None
    failures: list[str]


@program("gate", failure=NO_VERDICT)
def main(cfg: DictConfig) -> None:
    if cfg.stage != "budget":
        raise UserError(f"stage={cfg.stage} does not exist; choose budget")
    rows = [check_budget(name, step) for name, step in chosen_steps()]
    show(rows)
    if any(row.failures for row in rows):
        sys.exit(MISSED)


def chosen_steps() -> Iterator[tuple[str, DictConfig]]:
    """The configuration of the step that was chosen, or of every step, with its name.

    Whatever else was given on the command line holds for each of them.
    """
    config = HydraConfig.get()
    chosen = config.runtime.choices.step
    loader = GlobalHydra.instance().config_loader()
    names = [chosen] if chosen else loader.get_group_options("step")
    given = [item for item in config.overrides.task if item.split("=")[0] not in ("stage", "step")]
    for name in names:
        yield name, compose("train", overrides=[f"step={name}", *given])


def check_budget(name: str, cfg: DictConfig) -> Row:
    """What the step's network costs, against its budget and its own published count."""
    from experiments.budget import over
    from experiments.design import design

    _, cost = design(cfg)
    failures = over(cost, cfg)
    published = cfg.published.parameters if (cfg.published or {}).get("step") == name else None
    if published is not None and cost.parameters != published:
        failures.append(f"{cost.parameters:,} parameters, {published:,} were published")
    return Row(name, cost.parameters, published, cfg.budget.parameters, failures)


def show(rows: list[Row]) -> None:
    """Print the table of all steps, then a line for each failure."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 3, 0, 0))
    for column in ("step", "parameters", "published", "budget", "left"):
        table.add_column(column, justify="left" if column == "step" else "right")
    table.add_column("verdict")
    for row in rows:
        left = None if row.limit is None else row.limit - row.parameters
        counts = (row.parameters, row.published, row.limit, left)
        cells = ("-" if count is None else f"{count:,}" for count in counts)
        table.add_row(row.step, *cells, "fails" if row.failures else "holds")
    Console(highlight=False).print(table)
    for row in rows:
        for failure in row.failures:
            print(f"{row.step}: {failure}", file=sys.stderr)


if __name__ == "__main__":
    main()
