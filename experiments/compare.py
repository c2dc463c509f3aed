"""Which changes helped, and how sure that is, from the runs in MLflow.

python -m experiments.compare
python -m experiments.compare html=report.html csv=report.csv
python -m experiments.compare filter="params.step = 's13'" group=[optimizer.lr] against=first
"""

import sys
from pathlib import Path

from omegaconf import DictConfig

from experiments.cli import tables
from experiments.cli.compose import compose
from experiments.cli.config import JUDGEMENT
from experiments.cli.files import check_outputs, write
from experiments.cli.keys import select
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
    notes = table.notes(rows, cfg.margin, cfg.smallest_difference)
    texts, report = [], []
    for title, own in comparison.by_images(rows):
        first = " ".join(filter(None, (title, comparison.smallest(own))))
        report += [
            first,
            "",
            (table.ON_SCREEN, [*map(table.on_screen, own)], table.RIGHT, table.LESSER),
            "",
        ]
        cells = tables.to_markdown(table.HEADER, map(table.cells, own), table.RIGHT)
        texts += [tables.markdown(first), "", cells]
    tables.print_report([*report, notes])
    if cfg.csv:
        write(Path(cfg.csv), table.to_csv(rows))
    if cfg.markdown:
        write(Path(cfg.markdown), "\n".join([*texts, tables.markdown(notes), ""]))
    if cfg.html:
        usual = select(compose("compare", []), JUDGEMENT)
        asked = [key for key, value in select(cfg, JUDGEMENT).items() if value != usual[key]]
        with store.errors():
            html = page(cfg, rows, store)
            write(Path(cfg.html), html)
            if cfg.attach and not asked:
                attach(html, rows, store)
            elif cfg.attach:
                why = f"whose report is of the usual comparison, without {' and '.join(asked)}"
                tables.say(f"{cfg.html} is not added to the runs in MLflow, {why}", sys.stderr)


if __name__ == "__main__":
    main()
