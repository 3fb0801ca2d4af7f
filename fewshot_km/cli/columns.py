"""Texts and columns within the width of a terminal: wrapped between words, never within one, so never within a number.

Where columns do not fit side by side they come in several tables, or rows stand one under the other, and a line says
so. Nothing is left out or cut.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from fewshot_km.text import one_line

UNWRAPPED = 24  # columns: a number with its ± and its count has at most so many; longer texts may wrap between words
INDENT = 2


@dataclass(frozen=True)
class Columns:
    """A header whose first `words` columns are words, and titled parts with rows; ruled: with lines between parts."""

    header: Sequence[str]
    parts: Sequence[tuple[str, Sequence[Sequence[Text]]]]
    words: int
    is_ruled: bool = False

    def texts(self, place: int) -> Iterator[str]:
        """What stands under the header of a column; the parts' titles in the first one."""
        for title, rows in self.parts:
            yield from ([one_line(title)] if place == 0 else [])
            yield from (row[place].plain for row in rows)

    def chosen(self, places: Sequence[int]) -> "Columns":
        """The columns in these places."""
        parts = [(title, [[row[place] for place in places] for row in rows]) for title, rows in self.parts]
        words = sum(place < self.words for place in places)
        return Columns([self.header[place] for place in places], parts, words, self.is_ruled)


def print_text(console: Console, text: str, style: str = "", indent: int = 0) -> None:
    """One paragraph."""
    for line in _wrapped(one_line(text), console.width - indent):
        console.print(Text(" " * indent + line, style=style), soft_wrap=True)


def print_columns(console: Console, columns: Columns) -> None:
    """All columns, in the first of these ways for which the console is wide enough.

    Side by side; numbers in several tables, each with the first column; the rows one under the other.
    """
    if _widths(columns, console.width):
        _print_side_by_side(console, columns)
    elif columns.words < len(columns.header) and (several := _several(columns, console.width)):
        print_text(console, f"({len(several)} tables, as the columns do not fit side by side)")
        for part in several:
            _print_side_by_side(console, part)
    else:
        print_text(console, "(rows one under the other, as the columns do not fit side by side)")
        _print_stacked(console, columns)


def _widths(columns: Columns, width: int) -> list[int] | None:
    """Of each column; None where they do not fit into `width`."""
    least, wanted = [], []
    for place, name in enumerate(columns.header):
        longest = max(map(cell_len, columns.texts(place)), default=0)
        words = [word for text in (name, *columns.texts(place)) for word in text.split()]
        least.append(max(*map(cell_len, words), min(longest, UNWRAPPED), 1))
        wanted.append(max(longest, cell_len(name), least[-1]))
    room = width - (3 if columns.is_ruled else 2) * (len(least) - 1) - sum(least)
    if room < 0:
        return None
    growing = sorted(range(len(least)), key=lambda place: wanted[place] - least[place])
    for left, place in zip(range(len(growing), 0, -1), growing, strict=True):  # what one does not need, others get
        more = min(wanted[place] - least[place], room // left)
        least[place] += more
        room -= more
    return least


def _several(columns: Columns, width: int) -> list[Columns]:
    """Tables of as many columns as fit, the first one in each; none where not even two fit."""
    found: list[Columns] = []
    places = [0]
    for place in range(1, len(columns.header)):
        if not _widths(columns.chosen([*places, place]), width):
            found.append(columns.chosen(places))
            places = [0]
        places.append(place)
    found.append(columns.chosen(places))
    return found if all(_widths(part, width) and len(part.header) > 1 for part in found) else []


def _print_side_by_side(console: Console, columns: Columns) -> None:
    if columns.is_ruled:
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    else:
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    widths = _widths(columns, console.width)
    assert widths is not None

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


def _print_stacked(console: Console, columns: Columns) -> None:
    """Of each row the first column, and under it the others with their names."""
    for title, rows in columns.parts:
        if title:
            print_text(console, title, style="italic")
        for first, *others in rows:
            print_text(console, first.plain, style="bold")
            for name, text in zip(columns.header[1:], others, strict=True):
                if not text.plain:
                    continue
                if cell_len(f"{name}: {text.plain}") + INDENT <= console.width:
                    print_text(console, f"{name}: {text.plain}", str(text.style), INDENT)
                else:
                    print_text(console, f"{name}:", indent=INDENT)
                    print_text(console, text.plain, str(text.style), 2 * INDENT)


def _wrapped(text: str, width: int) -> list[str]:
    """Lines that end between words; a word that is longer than a line stays whole."""
    lines: list[str] = []
    for word in text.split(" "):
        if lines and cell_len(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
