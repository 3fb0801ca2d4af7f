"""Lines and tables on a terminal, in which texts of others can do no harm."""

import shutil
import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TextIO

from rich.console import Console
from rich.text import Text

from fewshot_km.cli.columns import Columns, print_columns, print_text
from fewshot_km.reports.table import Entry, Table
from fewshot_km.text import one_line


def print_line(text: object, file: TextIO | None = None) -> None:
    """One line, on standard output unless another file is named."""
    print(one_line(str(text)), file=file or sys.stdout, flush=True)


def print_rows(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """Columns without lines."""
    shown = [[Text(one_line(text)) for text in row] for row in rows]
    print_columns(_console(), Columns(header, [("", shown)], words=len(header)))


def print_table(table: Table, file: TextIO | None = None) -> None:
    """One table with its notes, on the terminal unless a file is named; a part for each task, where that comes first.

    What all rows of such a part share stands above it.
    """
    console = _console(file)
    if table.header[0] == "task":
        for task, group in groupby(table.rows, key=lambda row: row[0].text):
            print_text(console, f"{table.title}, {task}", style="bold")
            rows = [row[1:] for row in group]
            header = table.header[1:]
            shared = [
                place for place in range(max(1, table.words - 1), len(header)) if len({row[place] for row in rows}) == 1
            ]
            shared = shared if len(rows) > 1 else []
            if shared:
                print_text(console, ", ".join(f"{header[place]} {rows[0][place].text}" for place in shared))
            kept = [place for place in range(len(header)) if place not in shared]
            rows = [tuple(row[place] for place in kept) for row in rows]
            _print_part(console, [header[place] for place in kept], [("", rows)], table.words - 1)
    else:
        print_text(console, table.title, style="bold")
        if table.rows:
            _print_part(console, table.header, [(part.title, part.rows) for part in table.sections], table.words)
    for note in table.notes:
        print_text(console, note, indent=2)
    console.print()


def _print_part(
    console: Console, header: Sequence[str], parts: Sequence[tuple[str, Sequence[tuple[Entry, ...]]]], words: int
) -> None:
    shown = [(title, [[_styled(entry) for entry in row] for row in rows]) for title, rows in parts]
    print_columns(console, Columns(header, shown, words, is_ruled=True))


def _styled(entry: Entry) -> Text:
    return Text(one_line(entry.text), style="bold" if entry.is_bold else "")


UNLIMITED = 10**6  # columns: more than any line has


def _console(file: TextIO | None = None) -> Console:
    """As wide as the terminal, or as COLUMNS says; a pipe and a file have no width, so that nothing wraps there."""
    width = UNLIMITED if file else shutil.get_terminal_size(fallback=(0, 0)).columns or UNLIMITED
    return Console(file=file, width=width, height=100, highlight=False)
