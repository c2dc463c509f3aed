"""Which changes helped, and how sure that is, from the runs in MLflow.

python -m experiments.compare
python -m experiments.compare html=report.html csv=report.csv
python -m experiments.compare filter="params.step = 's13'" group=[optimizer.lr] against=first
"""

import sys
from pathlib import Path

from omegaconf import DictConfig

from experiments.cli.errors import UserError
from experiments.cli.files import check_outputs, write
from experiments.cli.program import program
from experiments.cli.text import printable
from experiments.tracking.part_of_data import whole


@program("compare")
def main(cfg: DictConfig) -> None:
    check_outputs(cfg.csv, cfg.markdown, cfg.html)
    from experiments.cli import tables
    from experiments.reports import comparison, table
    from experiments.tracking.arms import gather
    from experiments.tracking.store import STUDY, Store, answered

    store = Store(cfg.tracking, create=False)
    with answered(store):
        found = store.search(cfg.filter)
    runs = whole(found)
    if left_out := len(found) - len(runs):
        print(f"on part of their data, not counted: {left_out} of {len(found)}", file=sys.stderr)
    if cfg.filter is None:  # trials of a search are compared only if asked for
        runs = [run for run in runs if STUDY not in run.data.tags]
    arms = gather(runs, cfg.metric, cfg.group)
    for run in (run for arm in arms for run in arm.failed):
        print(printable(f"{run} failed, and is not counted"), file=sys.stderr)
    arms = [arm for arm in arms if arm.scores]
    if not arms:
        asked = f" and filter={cfg.filter}" if cfg.filter else ""
        raise UserError(
            f"no finished run with {cfg.metric or 'an accuracy'} in experiment "
            f"{cfg.tracking.experiment}{asked}; "
            "train first, for example: python -m experiments.train step=s13"
        )
    rows = comparison.compare(arms, cfg.against, cfg.margin, cfg.smallest_difference)
    with answered(store):
        rows = comparison.with_images(rows, store)
    shown = table.HEADER, [*map(table.cells, rows)], table.RIGHT
    first = printable(comparison.smallest(rows))
    notes = printable(table.notes(rows, cfg.margin, cfg.smallest_difference))
    tables.say(f"{first}\n")
    tables.show(*shown, lesser=table.LESSER)
    tables.say(f"\n{notes}")
    if cfg.csv:
        write(Path(cfg.csv), table.to_csv(rows))
    if cfg.markdown:
        texts = tables.markdown(first), tables.to_markdown(*shown), tables.markdown(notes)
        write(Path(cfg.markdown), "{}\n\n{}\n{}\n".format(*texts))
    if cfg.html:
        from experiments.reports.page import attach, page  # draws, and reads the data

        with answered(store):
            html = page(cfg, rows, store)
            write(Path(cfg.html), html)
            asked = cfg.filter, cfg.group, cfg.against, cfg.metric
            all_runs = asked == (None, None, "previous", None)
            if cfg.attach and all_runs:
                attach(html, rows, store)
            elif cfg.attach:  # parents keep the comparison of the whole store
                print("a comparison of some runs: not attached to parent runs", file=sys.stderr)


if __name__ == "__main__":
    main()
