"""Tables: a header and rows of text, shown in the terminal, or written as Markdown or CSV.

Texts may come from anyone: each kind of output escapes what commands it.
"""

from __future__ import annotations

import html
import io
import re
import sys
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import Task, TextColumn
from rich.table import Table
from rich.text import Text

from experiments.cli.text import printable

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 260  # characters, where the output is not a terminal
FORMULA = re.compile(r"^(?='*[=+\-@\t\r])")


def show(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Collection[str] = (),
    bold: Collection[str] = (),
) -> None:
    """Print a table. For the columns of `right` and `bold` see `to_text`."""
    width = None if sys.stdout.isatty() else WIDTH
    Console(width=width, highlight=False).print(_rich(header, rows, right, bold))


def to_text(
    header: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[str] = ()
) -> str:
    """The table as aligned plain text.

    Args:
        header: a name for each column; may be empty.
        rows: as many texts as the header has.
        right: columns aligned to the right; their texts are never folded.
    """
    console = Console(width=WIDTH, file=io.StringIO(), color_system=None)
    console.print(_rich(header, rows, right))
    return console.file.getvalue()


def to_markdown(
    header: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[str] = ()
) -> str:
    """The table as GitHub shows it, without the columns that are empty in every row."""
    rows = list(rows)
    used = [i for i in range(len(header)) if any(row[i] for row in rows)]
    lines = [header, ["---:" if column in right else "---" for column in header], *rows]
    lines = [[markdown(line[i]) for i in used] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def markdown(text: str) -> str:
    """A text that Markdown shows as it is, without HTML or links."""
    return re.sub(r"([\\`*|]|\[(?=[^]]*\]\())", r"\\\1", html.escape(printable(text), quote=False))


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """A table for CSV: spreadsheets would compute a text that begins with =, +, - or @."""
    return table.map(lambda cell: FORMULA.sub("'", cell) if isinstance(cell, str) else cell)


def restored(text: str) -> str:
    """A text of a CSV file as it was before `without_formulas`."""
    return text[1:] if text[:1] == "'" and FORMULA.match(text[1:]) else text


class Plain(TextColumn):
    """A column of a progress bar that shows a text as it is, not as markup."""

    def render(self, task: Task) -> Text:
        return Text(printable(self.text_format.format(task=task)), no_wrap=True)


def _rich(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Collection[str],
    bold: Collection[str] = (),
) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in header:
        side = {"justify": "right", "no_wrap": True} if column in right else {}
        table.add_column(Text(printable(column)), style="bold" if column in bold else None, **side)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))  # not markup
    return table
