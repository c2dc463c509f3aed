"""Which changes helped, and how sure that is, from the runs in MLflow.

python -m experiments.compare
python -m experiments.compare html=report.html csv=report.csv
python -m experiments.compare filter="params.step = 's13'" group=[optimizer.lr] against=first
"""

import sys
from pathlib import Path

from omegaconf import DictConfig

from experiments.cli import tables
from experiments.cli.files import check_outputs, write
from experiments.cli.program import program


@program("compare")
def main(cfg: DictConfig) -> None:
    check_outputs(cfg.csv, cfg.markdown, cfg.html)
    from experiments.reports import comparison, table  # MLflow: seconds
    from experiments.tracking.store import Store

    if cfg.html:
        from experiments.reports.page import attach, page  # torch and Vega: seconds

    store = Store(cfg.tracking, create=False)
    rows, remarks = comparison.of_store(cfg, store)
    for remark in remarks:
        tables.say(remark, sys.stderr)
    first = comparison.smallest(rows)
    notes = table.notes(rows, cfg.margin, cfg.smallest_difference)
    shown = table.ON_SCREEN, map(table.on_screen, rows), table.RIGHT, table.LESSER
    tables.print_report([first, "", shown, "", notes])
    if cfg.csv:
        write(Path(cfg.csv), table.to_csv(rows))
    if cfg.markdown:
        text = tables.to_markdown(table.HEADER, map(table.cells, rows), table.RIGHT)
        around = tables.markdown(first), tables.markdown(notes)
        write(Path(cfg.markdown), f"{around[0]}\n\n{text}\n{around[1]}\n")
    if cfg.html:
        asked = cfg.filter, cfg.group, cfg.against, cfg.metric
        with store.errors():
            html = page(cfg, rows, store)
            write(Path(cfg.html), html)
            if cfg.attach and asked == (None, None, "previous", None):
                attach(html, rows, store)
            elif cfg.attach:
                why = "as filter, group, against or metric was given"
                tables.say(f"{cfg.html} is not added to the runs in MLflow, {why}", sys.stderr)


if __name__ == "__main__":
    main()
