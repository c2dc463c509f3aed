"""Which changes helped, and how sure that is, from the runs in MLflow.

python -m experiments.compare
"""

import sys
from pathlib import Path

from omegaconf import DictConfig, ListConfig

from experiments.cli.errors import UserError, refuse_password
from experiments.cli.files import write
from experiments.cli.program import program


@program("compare")
def main(cfg: DictConfig) -> None:
    refuse_password(cfg)
    group = cfg.group
    if group is not None and not (isinstance(group, ListConfig) and len(group)):
        raise UserError(f"group must be a list of parameters, such as [optimizer.lr], not {group}")

    from mlflow.exceptions import MlflowException

    from experiments.cli import tables
    from experiments.reports import comparison
    from experiments.tracking.arms import gather
    from experiments.tracking.store import STUDY, Store, answered

    store = Store(cfg.tracking, create=False)
    with answered(store):
        try:
            runs = store.search(cfg.filter)
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            raise UserError(f"filter={cfg.filter}: {error.message}") from error
    if cfg.filter is None:  # trials of a search are compared only if asked for
        runs = [run for run in runs if STUDY not in run.data.tags]
    arms = gather(runs, cfg.metric, group)
    rows = comparison.compare(arms, cfg.against)
    for line in comparison.failures(arms):
        print(line, file=sys.stderr)
    if not rows:
        asked = f" and filter={cfg.filter}" if cfg.filter else ""
        raise UserError(
            f"no finished run with {cfg.metric} in experiment {cfg.tracking.experiment}{asked}; "
            "train first, for example: python -m experiments.train step=s13"
        )
    tables.show(comparison.HEADER, map(comparison.cells, rows), comparison.RIGHT)
    print(f"\n{comparison.notes(rows)}")
    if cfg.csv:
        write(Path(cfg.csv), comparison.to_csv(rows))
    if cfg.markdown:
        write(Path(cfg.markdown), comparison.to_markdown(rows))
    if cfg.html:
        from experiments.reports.page import attach, page  # draws, and reads the data

        with answered(store):
            html = page(cfg, rows, store)
            write(Path(cfg.html), html)
            if cfg.attach:
                attach(html, rows, store)


if __name__ == "__main__":
    main()
