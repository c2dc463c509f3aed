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

    from experiments.reports import comparison
    from experiments.tracking.arms import gather
    from experiments.tracking.store import STUDY, Store, answered, search

    store = Store(cfg.tracking, create=False)
    with answered(store):
        try:
            runs = search(store, cfg.filter)
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            raise UserError(f"filter={cfg.filter}: {error.message}") from error
    if cfg.filter is None:  # trials of a search are no evidence, unless one asks for them
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
    show(rows)
    if cfg.csv:
        write(Path(cfg.csv), comparison.to_csv(rows))
    if cfg.markdown:
        write(Path(cfg.markdown), comparison.to_markdown(rows))
    if cfg.html:
        from experiments.reports.page import attach, page

        with answered(store):
            html = page(cfg, rows, store)
            write(Path(cfg.html), html)
            if cfg.attach:
                attach(html, rows, store)


def show(rows: list) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    from experiments.reports.comparison import COLUMNS, LEFT, NOTES, cells, devices

    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in COLUMNS:
        table.add_column(
            column,
            justify="left" if column in LEFT else "right",
            no_wrap=column not in ("what changed", ""),
            min_width=12 if column == "what changed" else None,
        )
    for row in rows:
        table.add_row(*cells(row))
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 220)
    console.print(table)
    console.print(f"\n{NOTES} Trained on {devices(rows)}.")


if __name__ == "__main__":
    main()
