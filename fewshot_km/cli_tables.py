"""Tables on a terminal."""

from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fewshot_km.reporting.tables import SETTINGS, ResultsTable, display_frame


def print_rows(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    """Columns without lines."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


def print_table(table: ResultsTable) -> None:
    """One table a task, for a terminal of 80 columns: what all its rows share stands above it."""
    console = Console()
    for task, frame in display_frame(table).groupby("task", sort=False):
        shared = [name for name in SETTINGS if name in frame and frame[name].nunique() == 1]
        console.print(Text(f"{table.title}, {task}", style="bold"))
        console.print(Text(", ".join(f"{name} {frame[name].iloc[0]}" for name in shared)))
        shown = Table(box=SIMPLE_HEAD)
        columns = [name for name in frame.columns if name not in ("task", *shared)]
        for name in columns:
            shown.add_column(name.replace(" ", "\n"), justify="left" if name == "learner" else "right")
        for row in frame[columns].itertuples(index=False):
            shown.add_row(*(Text(str(value)) for value in row))
        console.print(shown)
    for note in table.notes:
        console.print(Padding(Text(note), (0, 0, 0, 2)))
