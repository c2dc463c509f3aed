"""Check steps against their targets, for a build: the exit status is the verdict.

python -m experiments.gate stage=budget
python -m experiments.gate step=s13 min_accuracy=0.993 junit=gate.xml
python -m experiments.gate stage=evidence baseline=evidence/ladder.csv

0: all targets hold. 1: one is missed. 2: no verdict, because evidence is missing or the
configuration is wrong.
"""

import sys
from pathlib import Path

from omegaconf import DictConfig

from experiments.cli import tables
from experiments.cli.files import check_outputs
from experiments.cli.program import program
from experiments.stats.target import HOLDS, MISSED

FAILED, UNKNOWN = 1, 2  # exit statuses


@program("gate", failure=UNKNOWN)
def main(cfg: DictConfig) -> None:
    check_outputs(cfg.junit, inputs=[cfg.baseline])
    from experiments.reports import targets  # torch: seconds

    if cfg.stage != "budget":
        from experiments.reports.evidence import evidence  # MLflow: seconds

    steps, checks = dict(targets.chosen_steps()), []
    if cfg.stage != "evidence":
        for name, step in steps.items():
            checks += targets.check_costs(name, step)
    if cfg.stage != "budget":
        checks += evidence(cfg, steps)
    checks.sort(key=lambda check: check.step)

    tables.show(targets.HEADER, [check.cells for check in checks], targets.RIGHT)
    for check in checks:
        if check.reason:
            tables.say(f"{check.step}: {check.reason}", sys.stderr)
    if cfg.junit:
        targets.junit(checks, Path(cfg.junit))
    targets.on_github(checks)
    verdicts = {check.verdict for check in checks}
    if verdicts != {HOLDS}:
        sys.exit(FAILED if MISSED in verdicts else UNKNOWN)


if __name__ == "__main__":
    main()
