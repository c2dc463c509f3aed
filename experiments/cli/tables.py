"""Tables: a header and rows of text, shown in the terminal, or written as Markdown or CSV.

Texts may come from anyone: each kind of output escapes what is a command there.
"""

from __future__ import annotations

import html
import os
import re
import sys
import textwrap
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, Task, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from experiments.cli.text import ON_TARGET, printable
from experiments.stats import target

if TYPE_CHECKING:
    import pandas as pd

WIDTH = 260  # characters, where the output is not a terminal and COLUMNS does not say
GAP = 2  # characters between columns
WORD, TEXT = 30, 12  # characters; longer words are broken, longer texts folded, where they must be
VERDICTS = {  # how they begin, by their colour
    "green": (target.BETTER, target.HOLDS, ON_TARGET[target.HOLDS], "finished"),
    "red": (target.WORSE, target.FAILS, target.MISSED, ON_TARGET[target.FAILS], "failed"),
    "yellow": (target.CANNOT_TELL, target.NO_VERDICT),
}
FORMULA = re.compile(r"^(?='*[=+\-@\t\r])")


def show(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Collection[str] = (),
    lesser: Iterable[str] = (),
) -> None:
    """Print a table that fits the terminal.

    Args:
        header: a name for each column; may be empty.
        rows: as many texts as the header has.
        right: columns aligned to the right; their texts are folded ahead of a bracket only.
        lesser: columns that move below their row where there is no room, the first of them first.
    """
    console = _console()
    with console.capture() as text:
        for part in _parts(header, rows, right, lesser):
            console.print(part, soft_wrap=console.width == WIDTH)
    print(text.get(), end="")


def say(text: str, file: TextIO | None = None) -> None:
    """Print a text of any origin, folded between words where the terminal ends; addresses, and a
    command at its end, stay whole, so that they can be copied."""
    width = max(_console().width, 1)
    width = 10**6 if width == WIDTH else width
    text, mark, command = printable(text).partition("python -m ")
    text += f"{mark}{command}".replace(" ", "\0")  # one word
    shown = textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)
    print(shown.replace("\0", " "), file=file, flush=True)


def print_report(report: Iterable[str | Sequence[Any]]) -> None:
    """Print texts as `say` does, and tables, given as the arguments of `show`, as that does."""
    for part in report:
        say(part) if isinstance(part, str) else show(*part)


def to_markdown(
    header: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[str] = ()
) -> str:
    """The table as GitHub shows it, without the columns that are empty in every row."""
    header, *rows = _without_empty(header, rows)
    lines = [header, ["---:" if column in right else "---" for column in header], *rows]
    lines = [map(markdown, line) for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def markdown(text: str) -> str:
    """A text that Markdown shows as it is, without HTML or links."""
    return re.sub(r"([\\`*|]|\[(?=[^]]*\]\())", r"\\\1", html.escape(printable(text), quote=False))


def to_csv(table: pd.DataFrame, float_format: str | None = None) -> str:
    """The table as CSV. A text that begins with =, +, - or @, which spreadsheets would compute,
    gets an apostrophe in front."""
    escaped = table.map(lambda cell: FORMULA.sub("'", cell) if isinstance(cell, str) else cell)
    return escaped.to_csv(index=False, float_format=float_format)


def restored(text: str) -> str:
    """A text of a CSV file as it was before `to_csv`."""
    return text[1:] if text[:1] == "'" and FORMULA.match(text[1:]) else text


def bars(**options: Any) -> Progress:
    """Progress bars on standard error: each with a name, which is shortened where there is no room,
    the time left, and the task's `note`."""
    columns = (
        Plain("{task.description}", table_column=Column()),
        BarColumn(6, table_column=Column(no_wrap=True)),
        TimeRemainingColumn(table_column=Column(no_wrap=True)),
        Plain("{task.fields[note]}"),
    )
    return Progress(*columns, console=Console(stderr=True), **options)


class Plain(TextColumn):
    """A column of a progress bar that shows a text as it is, not as markup."""

    def render(self, task: Task) -> Text:
        return Text(printable(self.text_format.format(task=task)), no_wrap=True)


def _console() -> Console:
    known = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if known else WIDTH, highlight=False)


def _without_empty(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[tuple[str, ...]]:
    """Header and rows, without the columns that have no text in any row."""
    lines = [header, *rows]
    used = [i for i in range(len(header)) if len(lines) == 1 or any(row[i] for row in lines[1:])]
    return [tuple(line[i] for i in used) for line in lines]


def _parts(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Collection[str],
    lesser: Iterable[str],
) -> Iterator[Table | Padding]:
    """The lines of the table in the width of the console, where texts are folded, and columns are
    told below their row, where they must."""
    room = _console().width + GAP  # each column has a gap, and the last one's may be outside
    header, *rows = _without_empty(header, rows)
    columns = [[*map(printable, column)] for column in zip(header, *rows, strict=True)]
    least = [_least(column, name in right) for name, column in zip(header, columns, strict=True)]
    for column in columns[:1]:  # names stay whole where they leave room for all else
        least[0] = max([least[0], *(n for n in map(cell_len, column) if n <= room // 2)])
    # lesser columns stand beside the others only where texts need not be narrower than this
    good = [
        size if name in right else max(size, min(max(map(cell_len, column)), WORD))
        for name, column, size in zip(header, columns, least, strict=True)
    ]
    shown, below = [*range(len(header))], []
    for name in lesser:
        if name in header and sum(good[place] + GAP for place in shown) > room:
            below.append(header.index(name))
            shown.remove(below[-1])
    widths = {place: max(map(cell_len, columns[place])) for place in shown}
    room = max(room - GAP * len(shown), GAP * len(shown))
    for place in shown if sum(widths.values()) > room else ():
        if header[place] in right:
            widths[place] = least[place]
            columns[place] = [text.replace(" (", "\n(") for text in columns[place]]
    # whole words, then words in parts, those of names last, and figures where nothing else is left
    parts = [size if name in right else TEXT for name, size in zip(header, least, strict=True)]
    for floor in (good, least, [*least[:1], *parts[1:]], parts, [1] * len(header)):
        excess = {place: max(size - floor[place], 0) for place, size in widths.items()}
        while sum(widths.values()) > room and any(excess.values()):
            widest = max(shown, key=lambda place: (excess[place], widths[place]))
            widths[widest], excess[widest] = widths[widest] - 1, excess[widest] - 1
    for number, texts in enumerate(zip(*columns, strict=True)):
        line = Table.grid(padding=(0, GAP, 0, 0), pad_edge=False)
        end = "top" if number else "bottom"
        for place, size in widths.items():
            side = "right" if header[place] in right else "left"
            line.add_column(justify=side, vertical=end, width=size, overflow="fold")
        cells = (_parted(texts[place], size) for place, size in widths.items())
        line.add_row(*map(_cell, cells), style=None if number else "bold")
        yield line
        told = "; ".join(f"{header[place]}: {texts[place]}" for place in below if texts[place])
        if number and told:
            yield Padding(Text(told), (0, 0, 0, GAP), expand=False)


def _least(column: Sequence[str], right: bool) -> int:
    """The characters that a column takes at least: its longest word; figures up to a bracket."""
    name, *cells = column
    words = [word for cell in cells for word in re.split(r" (?=\()" if right else " ", cell)]
    least = 0 if right else min(max(map(cell_len, column)), TEXT)
    return max(least, *(min(cell_len(word), WORD) for word in (*words, *name.split(" "))))


def _parted(text: str, size: int) -> str:
    """A text whose words are no longer than `size`, parted after , = or _ where it can be."""
    part = re.compile(rf"\S{{1,{size}}}(?!\S)|\S{{1,{size}}}(?<=[,=_])|\S{{1,{size}}}")
    return re.sub(r"\S+", lambda word: "\n".join(part.findall(word[0])), text)


def _cell(text: str) -> Text:
    """A cell, which is not markup, in the colour of its verdict."""
    colours = (colour for colour, words in VERDICTS.items() if text.startswith(words))
    return Text(text, next(colours, ""))
