"""Lines and tables on a terminal: foreign texts can do no harm there, and no word or number is ever broken or cut.

Texts wrap between words. Columns that do not fit side by side come in several tables, or the rows stand one under the
other, and a line says so.
"""

import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TextIO

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table as RichTable
from rich.text import Text

from fewshot_km.reports.table import Entry, Table
from fewshot_km.text import one_line

UNLIMITED = 10**6  # columns of a pipe or a file: more than any line has
UNWRAPPED = 24  # columns: no number with its ± and its count is wider; longer texts may wrap between words
INDENT = 2


def print_line(text: object, file: TextIO | None = None) -> None:
    """Print one line, on standard output unless another file is named."""
    print(one_line(str(text)), file=file or sys.stdout, flush=True)


def print_rows(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """Print columns of texts."""
    shown = [[Text(one_line(text)) for text in row] for row in rows]
    _print_columns(_console(), _Columns(header, [("", shown)], words=len(header)))


def print_table(table: Table, file: TextIO | None = None) -> None:
    """Print a table with its notes, on the terminal unless a file is named.

    If its first column is the task, each task has a part of its own, and what all rows of the part share stands above.
    """
    console = _console(file)
    if table.header[0] == "task":
        for task, group in groupby(table.rows, key=lambda row: row[0].text):
            _print_text(console, f"{table.title}, {task}", style="bold")
            rows, header = [row[1:] for row in group], table.header[1:]
            numbers = range(max(1, table.words - 1), len(header))
            shared = [n for n in numbers if len(rows) > 1 and len({row[n] for row in rows}) == 1]
            if shared:
                _print_text(console, ", ".join(f"{header[n]} {rows[0][n].text}" for n in shared))
            columns = _Columns(header, [("", _styled(rows))], table.words - 1, is_ruled=True)
            _print_columns(console, columns.chosen([n for n in range(len(header)) if n not in shared]))
    else:
        _print_text(console, table.title, style="bold")
        if table.rows:
            parts = [(section.title, _styled(section.rows)) for section in table.sections]
            _print_columns(console, _Columns(table.header, parts, table.words, is_ruled=True))
    for note in table.notes:
        _print_text(console, note, indent=INDENT)
    console.print()


def _styled(rows: Iterable[Sequence[Entry]]) -> list[list[Text]]:
    return [[Text(one_line(entry.text), style="bold" if entry.is_bold else "") for entry in row] for row in rows]


def _console(file: TextIO | None = None) -> Console:
    """A console as wide as the terminal, or as COLUMNS says; nothing wraps in a pipe or a file, which have no width."""
    width = UNLIMITED if file else shutil.get_terminal_size(fallback=(0, 0)).columns or UNLIMITED
    return Console(file=file, width=width, height=100, highlight=False)


@dataclass(frozen=True)
class _Columns:
    """A header whose first `words` columns are words, and titled parts with rows; ruled: with lines between parts."""

    header: Sequence[str]
    parts: Sequence[tuple[str, Sequence[Sequence[Text]]]]
    words: int
    is_ruled: bool = False

    def texts(self, place: int) -> Iterator[str]:
        """Yield the texts under the header of a column; the parts' titles are in the first one."""
        for title, rows in self.parts:
            yield from ([one_line(title)] if place == 0 else [])
            yield from (row[place].plain for row in rows)

    def chosen(self, places: Sequence[int]) -> "_Columns":
        """Return the columns in these places."""
        parts = [(title, [[row[place] for place in places] for row in rows]) for title, rows in self.parts]
        words = sum(place < self.words for place in places)
        return _Columns([self.header[place] for place in places], parts, words, self.is_ruled)

    def widths(self, width: int) -> list[int] | None:
        """Return the width of each column; None if they do not fit into `width`."""
        least, wanted = [], []
        for place, name in enumerate(self.header):
            longest = max(map(cell_len, self.texts(place)), default=0)
            words = [word for text in (name, *self.texts(place)) for word in text.split()]
            least.append(max(*map(cell_len, words), min(longest, UNWRAPPED), 1))
            wanted.append(max(longest, cell_len(name), least[-1]))
        room = width - (3 if self.is_ruled else 2) * (len(least) - 1) - sum(least)
        if room < 0:
            return None
        growing = sorted(range(len(least)), key=lambda place: wanted[place] - least[place])
        for left, place in zip(range(len(growing), 0, -1), growing, strict=True):  # room that one leaves, others get
            more = min(wanted[place] - least[place], room // left)
            least[place] += more
            room -= more
        return least

    def split(self, width: int) -> list["_Columns"]:
        """Return tables of as many columns as fit, the first one in each; none if not even two fit."""
        found: list[_Columns] = []
        places = [0]
        for place in range(1, len(self.header)):
            if not self.chosen([*places, place]).widths(width):
                found.append(self.chosen(places))
                places = [0]
            places.append(place)
        found.append(self.chosen(places))
        return found if all(part.widths(width) and len(part.header) > 1 for part in found) else []


def _print_columns(console: Console, columns: _Columns) -> None:
    if widths := columns.widths(console.width):
        _print_side_by_side(console, columns, widths)
    elif columns.words < len(columns.header) and (several := columns.split(console.width)):
        _print_text(console, f"({len(several)} tables, as the columns do not fit side by side)")
        for part in several:
            _print_columns(console, part)
    else:
        _print_text(console, "(rows one under the other, as the columns do not fit side by side)")
        _print_stacked(console, columns)


def _print_side_by_side(console: Console, columns: _Columns, widths: Sequence[int]) -> None:
    if columns.is_ruled:
        table = RichTable(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    else:
        table = RichTable(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")

    def filled(texts: Sequence[Text]) -> Iterator[Text]:
        for text, width in zip(texts, widths, strict=False):
            yield Text("\n".join(_wrapped(text.plain, width)), style=text.style)

    for place, name in enumerate(filled([Text(name) for name in columns.header])):
        side: JustifyMethod = "left" if place < columns.words else "right"
        table.add_column(name, width=widths[place], justify=side, no_wrap=True)
    for title, rows in columns.parts:
        if title:
            table.add_section()
            table.add_row(*filled([Text(one_line(title), style="italic")]))
        for row in rows:
            table.add_row(*filled(row))
    with console.capture() as captured:
        console.print(table)
    lines = [line.rstrip() for line in captured.get().splitlines()]
    print(*lines, *([""] if columns.is_ruled else []), sep="\n", file=console.file)


def _print_stacked(console: Console, columns: _Columns) -> None:
    """Print the first column of each row, and under it the others with their names."""
    for title, rows in columns.parts:
        if title:
            _print_text(console, title, style="italic")
        for first, *others in rows:
            _print_text(console, first.plain, style="bold")
            for name, text in zip(columns.header[1:], others, strict=True):
                if not text.plain:
                    continue
                if cell_len(f"{name}: {text.plain}") + INDENT <= console.width:
                    _print_text(console, f"{name}: {text.plain}", str(text.style), INDENT)
                else:
                    _print_text(console, f"{name}:", indent=INDENT)
                    _print_text(console, text.plain, str(text.style), 2 * INDENT)


def _print_text(console: Console, text: str, style: str = "", indent: int = 0) -> None:
    """Print one paragraph."""
    for line in _wrapped(one_line(text), console.width - indent):
        console.print(Text(" " * indent + line, style=style), soft_wrap=True)


def _wrapped(text: str, width: int) -> list[str]:
    """Split into lines between words; a word that is longer than a line stays whole."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and cell_len(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
