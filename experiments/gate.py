"""Hold the steps to their targets; the exit status is for a build to act on.

python -m experiments.gate stage=budget

0: all hold. 1: one is missed. 2: there is nothing to hold them against, or the
configuration is wrong.
"""

import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from experiments.cli.errors import UserError, refuse_password
from experiments.cli.program import program

MISSED, NO_VERDICT = 1, 2
STAGES = ("budget", "evidence", "all")


@program("gate", failure=NO_VERDICT)
def main(cfg: DictConfig) -> None:
    if cfg.stage not in STAGES:
        raise UserError(f"stage={cfg.stage} does not exist; choose one of {', '.join(STAGES)}")
    refuse_password(cfg)

    from experiments.budget.network import design
    from experiments.reports import ci, targets

    targets.check_targets(cfg)
    baseline = None
    if cfg.stage != "budget":
        from experiments.reports import comparison
        from experiments.tracking import arms
        from experiments.tracking.store import Store, answered

        if cfg.baseline:
            baseline = comparison.read_scores(Path(cfg.baseline))
        store = Store(cfg.tracking, create=False)
        trained = list(compose("train"))  # keys; the others are the gate's own
    checks = []
    with nullcontext() if cfg.stage == "budget" else answered(store):
        for name, step in chosen():
            targets.check_targets(step)
            if cfg.stage != "evidence":
                checks += targets.costs(name, step, design(step)[1])
            if cfg.stage != "budget":
                arm = arms.of(store, OmegaConf.masked_copy(step, trained), "val/acc")
                checks += targets.evidence(name, step, arm, baseline)
    show(checks)
    if cfg.junit:
        ci.junit(checks, Path(cfg.junit))
    ci.on_github(checks)
    verdicts = {check.verdict for check in checks}
    if targets.MISSED in verdicts:
        sys.exit(MISSED)
    if targets.UNKNOWN in verdicts:
        sys.exit(NO_VERDICT)


def chosen() -> Iterator[tuple[str, DictConfig]]:
    """The configuration of the step or experiment that was chosen, or of every step, with its name.

    Whatever else was given on the command line holds for each of them.
    """
    config = HydraConfig.get()
    choices = config.runtime.choices
    group = "experiment" if choices.experiment else "step"
    loader = GlobalHydra.instance().config_loader()
    names = [choices[group]] if choices[group] else loader.get_group_options(group)
    given = [item for item in config.overrides.task if item.split("=")[0] != group]
    for name in names:
        cfg = compose("gate", overrides=[f"{group}={name}", *given])
        cfg[group] = name
        yield name, cfg


def show(checks: list) -> None:
    """Print a line for each check, then the reason of each that does not hold."""
    from rich.console import Console
    from rich.table import Table

    from experiments.reports.ci import HEADER
    from experiments.reports.targets import HOLDS

    table = Table(box=None, padding=(0, 3, 0, 0))
    for column in HEADER:
        right = column in ("measured", "margin")
        table.add_column(column, justify="right" if right else "left", no_wrap=True)
    for check in checks:
        table.add_row(*check[: len(HEADER)])
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    console.print(table)
    for check in checks:
        if check.verdict != HOLDS:
            print(f"{check.step}: {check.reason}", file=sys.stderr)


if __name__ == "__main__":
    main()
