"""The command line: `fewshot-km ...`, and `python run_benchmarks.py ...` from a checkout."""

import sys
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from fewshot_km.cli_data import data_commands
from fewshot_km.cli_options import DataRoot, Plugins, load_plugins
from fewshot_km.datasets import DATASETS
from fewshot_km.datasets.storage import default_data_root, write_text
from fewshot_km.engine import EXECUTIONS
from fewshot_km.engine.choice import AUTO, check_execution
from fewshot_km.engine.devices import choose_device
from fewshot_km.errors import FewshotError
from fewshot_km.grid import ResultStore, find_grid, load_grid, shipped_grids
from fewshot_km.grid.display import GridDisplay
from fewshot_km.grid.run import run_grid
from fewshot_km.grid.team import Team, choose_devices, follow, follows
from fewshot_km.learners import LEARNERS
from fewshot_km.networks import NETWORKS
from fewshot_km.plugins import load_entry_points
from fewshot_km.registry import Registry
from fewshot_km.reporting.tables import SETTINGS, ResultsTable, display_frame, results_table, to_csv, to_markdown

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130  # exit status, beside 0


class Commands(TyperGroup):
    """Turns our errors into one line on standard error and the exit status that goes with them."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except FewshotError as error:
            print(f"error: {error}", file=sys.stderr)
            raise typer.Exit(BAD_INPUT) from error
        except OSError as error:
            if isinstance(error, BrokenPipeError):
                raise
            print(f"error: {error}: check that it exists, can be written, and that the disk has room", file=sys.stderr)
            raise typer.Exit(BAD_INPUT) from error
        except KeyboardInterrupt:
            print("interrupted: finished cells are kept; the same command goes on with the others", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None


class TableFormat(StrEnum):
    """How a table is printed."""

    TEXT = "text"
    MD = "md"
    CSV = "csv"


app = typer.Typer(
    cls=Commands,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.add_typer(data_commands, name="data")

GridName = Annotated[str, typer.Argument(metavar="GRID", help="A shipped grid's name, or the path of a TOML file.")]
Results = Annotated[Path, typer.Option(help="Folder where results are kept.")]
Device = Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu, cuda, cuda:1, ...")]
Pattern = Annotated[str, typer.Argument(help="Shell pattern, such as '*maml*'.")]

DEFAULT_RESULTS = Path("results")


@app.callback(invoke_without_command=True)
def quickstart(ctx: typer.Context) -> None:
    """Few-shot benchmarks: MAML, ANIL and KM-MAML with intervals that can be trusted.

    Without a command: run the quickstart grid on the embedded data set (about two minutes) and print its table.

    \b
    Exit status: 0 all is done, 1 a cell failed,
    2 wrong use or bad input, 130 interrupted.
    """
    load_entry_points()
    if ctx.invoked_subcommand is None:
        _run("quickstart", DEFAULT_RESULTS, None, "auto", "auto", AUTO, None, False, [])


@app.command()
def run(
    grid: GridName,
    results: Results = DEFAULT_RESULTS,
    data_root: DataRoot = None,
    device: Device = "auto",
    devices: Annotated[
        str, typer.Option(help="Processes that share each meta-batch: auto (CPU: one per core; GPU: one) or a number.")
    ] = "auto",
    execution: Annotated[
        str, typer.Option(help=f"How tasks are run: auto (the fastest, measured once), {', '.join(EXECUTIONS)}.")
    ] = AUTO,
    task_chunk: Annotated[
        int | None, typer.Option(min=1, help="Tasks at once in each process.", show_default="what fits into memory")
    ] = None,
    tf32: Annotated[
        bool, typer.Option("--tf32", help="On a GPU: faster products with factors rounded to 10 bits; records say so.")
    ] = False,
    plugin: Plugins = None,
) -> None:
    """Run the cells of a grid that are not done yet, then print and save its table."""
    load_plugins(plugin)
    _run(grid, results, data_root, device, devices, execution, task_chunk, tf32, plugin or [])


@app.command("list")
def list_grids(
    grid: Annotated[str | None, typer.Argument(metavar="[GRID]", help="A grid: list its cells.")] = None,
    results: Results = DEFAULT_RESULTS,
    plugin: Plugins = None,
) -> None:
    """List the shipped grids; or the cells of one: done, to do, failed."""
    load_plugins(plugin)
    if grid is None:
        shipped = ((name, load_grid(path)) for name, path in shipped_grids().items())
        _print_rows(("grid", "cells", "what it is"), ((name, str(len(g.cells)), g.description) for name, g in shipped))
        return
    loaded = load_grid(find_grid(grid))
    store = ResultStore(results, loaded.name)
    rows = []
    for cell in loaded.cells:
        state = store.state(cell)
        found = ""
        if state == "done":
            record = store.read(cell).record
            found = f"test accuracy {100 * record['results']['test_accuracy']:.2f} %"
            if record.get("dataset_partial"):
                found += f"; partial: {record['dataset_partial']}"
        elif state == "failed":
            found = store.failure(cell)
        rows.append((cell.task, cell.learner, str(cell.seed), state, found))
    _print_rows(("task", "learner", "seed", "state", "result"), rows)


@app.command()
def report(
    grid: GridName,
    results: Results = DEFAULT_RESULTS,
    table_format: Annotated[TableFormat, typer.Option("--format", help="How the table is printed.")] = TableFormat.TEXT,
    plugin: Plugins = None,
) -> None:
    """Print the table of a grid from its stored results."""
    load_plugins(plugin)
    loaded = load_grid(find_grid(grid))
    table = results_table(loaded, ResultStore(results, loaded.name))
    if table_format is TableFormat.TEXT:
        _print_table(table)
    else:
        sys.stdout.write(to_markdown(table) if table_format is TableFormat.MD else to_csv(table))


@app.command()
def learners(pattern: Pattern = "*", plugin: Plugins = None) -> None:
    """List the learners that a grid can name."""
    load_plugins(plugin)
    _print_registry(LEARNERS, pattern)


@app.command()
def networks(pattern: Pattern = "*", plugin: Plugins = None) -> None:
    """List the networks that a grid can name."""
    load_plugins(plugin)
    _print_registry(NETWORKS, pattern)


@app.command()
def datasets(pattern: Pattern = "*", plugin: Plugins = None) -> None:
    """List the data sets that a grid can name."""
    load_plugins(plugin)
    _print_registry(DATASETS, pattern)


def _run(
    name: str,
    results: Path,
    data_root: Path | None,
    device: str,
    devices: str,
    execution: str,
    task_chunk: int | None,
    tf32: bool,
    plugins: list[Path],
) -> None:
    chosen = choose_device(device)
    root = data_root or default_data_root()
    if follows():
        follow(root, chosen)
        return
    check_execution(execution)
    grid = load_grid(find_grid(name))
    store = ResultStore(results, grid.name)
    waiting = [cell for cell in grid.cells if store.state(cell) != "done"]
    processes = choose_devices(devices, chosen, max((cell.config.outer.meta_batch for cell in waiting), default=1))
    console = Console(stderr=True)
    if waiting:
        done = len(grid.cells) - len(waiting)
        console.print(
            f"{grid.name}: {len(waiting)} cells to run"
            + (f", {done} done before" if done else "")
            + f", on {chosen}"
            + (f", {processes} processes" if processes > 1 else ""),
            highlight=False,
        )
        command = ["run", name, f"--data-root={root}", f"--device={device}", *(f"--plugin={path}" for path in plugins)]
        with Team(processes, chosen, command) as team, GridDisplay(len(waiting), console) as display:
            failed = run_grid(
                grid, waiting, store, root, team, display, execution=execution, task_chunk=task_chunk, tf32=tf32
            )
    else:
        console.print(f"{grid.name}: all {len(grid.cells)} cells are done; nothing to run", highlight=False)
        failed = []
    if len(failed) < len(grid.cells):
        table = results_table(grid, store)
        write_text(store.folder / "table.md", to_markdown(table))
        write_text(store.folder / "table.csv", to_csv(table))
        _print_table(table)
        console.print(f"written: {store.folder / 'table.md'} and table.csv", highlight=False, soft_wrap=True)
    if failed:
        names = ", ".join(str(cell) for cell in failed)
        print(f"error: {len(failed)} of {len(grid.cells)} cells failed: {names}", file=sys.stderr)
        raise typer.Exit(FAILED)


def _print_registry(registry: Registry[Any], pattern: str) -> None:
    names = registry.names(pattern)
    if not names:
        registry.get(pattern)  # raises: says what is known
    rows = ((name, _first_line(registry.get(name)), registry.describe_options(name)) for name in names)
    _print_rows((registry.kind, "what it is", "options"), rows)


def _first_line(entry: object) -> str:
    return (entry.__doc__ or "").strip().partition("\n")[0]


def _print_rows(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


def _print_table(table: ResultsTable) -> None:
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


def main() -> None:
    """Entry point of the command line."""
    app()
