"""Compare steps with their targets; the exit status is for a build to act on.

python -m experiments.gate stage=budget
python -m experiments.gate step=s13 min_accuracy=0.993 junit=gate.xml
python -m experiments.gate stage=evidence baseline=evidence/ladder.csv

0: all targets hold. 1: one is missed. 2: no verdict, because evidence is missing or the
configuration is wrong.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from experiments.cli import tables
from experiments.cli.compose import compose, search_path
from experiments.cli.files import check_outputs
from experiments.cli.keys import key_of
from experiments.cli.program import program
from experiments.tracking.identity import refuse_part

FAILED, NO_VERDICT = 1, 2  # exit statuses


@program("gate", failure=NO_VERDICT)
def main(cfg: DictConfig) -> None:
    check_outputs(cfg.junit, inputs=[cfg.baseline])
    from experiments.budget.cost import cost_of  # torch: seconds
    from experiments.reports import targets

    steps, checks = dict(chosen()), []
    if cfg.stage != "evidence":
        for name, step in steps.items():
            checks += targets.costs(name, step, cost_of(step))
    if cfg.stage != "budget":  # MLflow takes seconds to import
        from experiments.reports.evidence import evidence

        checks += evidence(cfg, steps)
    checks.sort(key=lambda check: check.step)

    tables.show(targets.HEADER, [check.cells for check in checks], targets.RIGHT)
    for check in checks:
        if check.reason:
            print(f"{check.step}: {check.reason}", file=sys.stderr)
    if cfg.junit:
        targets.junit(checks, Path(cfg.junit))
    targets.on_github(checks)
    verdicts = {check.verdict for check in checks}
    if verdicts != {targets.HOLDS}:
        sys.exit(FAILED if targets.MISSED in verdicts else NO_VERDICT)


def chosen() -> Iterator[tuple[str, DictConfig]]:
    """The chosen step or experiment, or else every step: its name, and its configuration with all
    other overrides of the command line."""
    from experiments.cli.checks import check  # --help need not wait for pydantic

    config = HydraConfig.get()
    choices, loader = config.runtime.choices, GlobalHydra.instance().config_loader()
    group = "experiment" if choices.experiment else "step"
    given = [item for item in config.overrides.task if key_of(item) != group]
    every = loader.get_group_options(group, config_name="gate", overrides=search_path())
    for name in [choices[group]] if choices[group] else every:
        cfg = compose("gate", [f"{group}={name}", *given])
        check(cfg, "gate")
        refuse_part(cfg)
        yield name, cfg


if __name__ == "__main__":
    main()
