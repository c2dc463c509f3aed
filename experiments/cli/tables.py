"""Tables: a header and rows of text, shown in the terminal or written as Markdown."""

import io
import sys
from collections.abc import Collection, Iterable, Sequence

from rich.console import Console
from rich.table import Table

WIDTH = 260  # characters, where the output is not a terminal


def show(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Collection[str] = (),
    bold: Collection[str] = (),
) -> None:
    """Print a table. For the columns of `right` and `bold` see `to_text`."""
    width = None if sys.stdout.isatty() else WIDTH
    Console(width=width, highlight=False, markup=False).print(_rich(header, rows, right, bold))


def to_text(
    header: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[str] = ()
) -> str:
    """The table as aligned plain text.

    Args:
        header: a name for each column; may be empty.
        rows: as many texts as the header has.
        right: columns aligned to the right; their texts are never folded.
    """
    console = Console(width=WIDTH, file=io.StringIO(), markup=False, color_system=None)
    console.print(_rich(header, rows, right))
    return console.file.getvalue()


def to_markdown(
    header: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[str] = ()
) -> str:
    """The table as GitHub shows it, without the columns that are empty in every row."""
    rows = list(rows)
    used = [i for i in range(len(header)) if any(row[i] for row in rows)]
    lines = [header, ["---:" if column in right else "---" for column in header], *rows]
    lines = [[line[i].replace("|", "\\|") for i in used] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _rich(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Collection[str],
    bold: Collection[str] = (),
) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in header:
        side = {"justify": "right", "no_wrap": True} if column in right else {}
        table.add_column(column, style="bold" if column in bold else None, **side)
    for row in rows:
        table.add_row(*row)
    return table
