"""Lines and tables on a terminal, in which texts of others can do no harm."""

import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Shown
from rich.text import Text

from fewshot_km.foreign_text import one_line
from fewshot_km.reporting.table import Entry, Table


def print_line(text: object, file: TextIO | None = None) -> None:
    """One line, on standard output unless another file is named."""
    print(one_line(str(text)), file=file or sys.stdout, flush=True)


def print_rows(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """Columns without lines."""
    table = Shown(box=None, pad_edge=False, header_style="bold")
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(one_line(text)) for text in row))
    Console().print(table)


def print_table(table: Table) -> None:
    """One table for a terminal of 80 columns, with its notes; where the first column is the task, a part for each.

    What all rows of such a part share stands above it.
    """
    console = Console()
    if table.header[0] == "task":
        for task, group in groupby(table.rows, key=lambda row: row[0].text):
            console.print(Text(one_line(f"{table.title}, {task}"), style="bold"))
            rows = [row[1:] for row in group]
            header = table.header[1:]
            shared = [place for place in range(table.words - 1, len(header)) if len({row[place] for row in rows}) == 1]
            shared = shared if len(rows) > 1 else []
            console.print(Text(one_line(", ".join(f"{header[place]} {rows[0][place].text}" for place in shared))))
            kept = [place for place in range(len(header)) if place not in shared]
            rows = [tuple(row[place] for place in kept) for row in rows]
            _print_part(console, [header[place] for place in kept], [("", rows)], table.words - 1)
    else:
        console.print(Text(one_line(table.title), style="bold"))
        if table.rows:
            _print_part(console, table.header, [(part.title, part.rows) for part in table.sections], table.words)
    for note in table.notes:
        console.print(Padding(Text(one_line(note)), (0, 0, 0, 2)))
    console.print()


def _print_part(
    console: Console, header: Sequence[str], parts: Sequence[tuple[str, Sequence[tuple[Entry, ...]]]], words: int
) -> None:
    shown = Shown(box=SIMPLE_HEAD)
    for place, name in enumerate(header):
        shown.add_column(
            name.replace(" ", "\n"),
            justify="left" if place < words else "right",
            overflow="fold",
            no_wrap=place < words,
        )
    for title, rows in parts:
        if title:
            shown.add_section()
            shown.add_row(Text(one_line(title), style="italic"))
        for row in rows:
            shown.add_row(*(Text(one_line(entry.text), style="bold" if entry.is_bold else "") for entry in row))
    console.print(shown)
