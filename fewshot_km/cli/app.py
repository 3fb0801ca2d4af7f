"""The command line: `fewshot-km ...`, and `python run_benchmarks.py ...` from a checkout."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version as package_version
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from fewshot_km.cli.clean_command import clean_command
from fewshot_km.cli.config_command import config_commands
from fewshot_km.cli.data_command import data_commands
from fewshot_km.cli.episodes_command import episodes_commands
from fewshot_km.cli.evaluate_command import evaluate_command
from fewshot_km.cli.options import Only, Plugins, Results, Settings, load_plugins
from fewshot_km.cli.report_command import compare_command, report_command
from fewshot_km.cli.run_command import run_command
from fewshot_km.cli.terminal_tables import print_line, print_rows
from fewshot_km.cli.tune_command import tune_command
from fewshot_km.data import DATASETS
from fewshot_km.data.storage import describe_os_error
from fewshot_km.errors import FewshotError, MistakesError, message_of
from fewshot_km.experiments.cells.stopping import StoppedRun
from fewshot_km.experiments.events.clock import duration
from fewshot_km.experiments.protocols import find_protocol, protocols
from fewshot_km.experiments.settings.grid import Cell, find_grid, load_grid, shipped_grids
from fewshot_km.experiments.settings.run_settings import RunOptions
from fewshot_km.experiments.settings.selection import parse_settings, select
from fewshot_km.experiments.store.result_store import ResultStore, say_finished_otherwise
from fewshot_km.foreign_text import one_line
from fewshot_km.learners import LEARNERS
from fewshot_km.models import NETWORKS
from fewshot_km.plugins.loading import load_entry_points
from fewshot_km.registry import Registry
from fewshot_km.training.launching import follows

BAD_INPUT, INTERRUPTED = 2, 130  # exit status


UsageError: Any = typer.BadParameter.__base__  # which typer takes from click, or has a copy of: by its version


class Commands(TyperGroup):
    """Turns our errors into one line on standard error and the exit status that goes with them."""

    def make_context(self, *arguments: Any, **more: Any) -> Any:
        """Read the options before the command."""
        with _in_one_line():
            return super().make_context(*arguments, **more)

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        with _in_one_line():
            return super().invoke(ctx)


@contextmanager
def _in_one_line() -> Iterator[None]:
    try:
        yield
    except MistakesError as error:
        _leave(error.heading, error, error.mistakes)
    except FewshotError as error:
        _leave(message_of(error), error)
    except UsageError as error:
        if error.ctx is not None and error.message == error.ctx.get_help():
            raise  # it shows the help
        see = f" (see '{error.ctx.command_path} --help')" if error.ctx is not None else ""
        _leave(error.format_message() + see, error)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        mend = "check the path, that it can be read and written, and that the disk has room"
        _leave(f"{describe_os_error(error)}: {mend}", error)
    except StoppedRun as stopped:
        print_line(f"{stopped.why}: the same command goes on from here", sys.stderr)
        raise typer.Exit(stopped.status) from None
    except KeyboardInterrupt:
        print_line("interrupted", sys.stderr)
        raise typer.Exit(INTERRUPTED) from None


def _leave(why: str, error: Exception, more: Sequence[str] = ()) -> NoReturn:
    print_line(f"error: {why}", sys.stderr)
    for line in more:
        print(f"  {one_line(line)}", file=sys.stderr)
    raise typer.Exit(BAD_INPUT) from error


app = typer.Typer(
    cls=Commands,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.add_typer(data_commands, name="data")
app.add_typer(config_commands, name="config")
app.add_typer(episodes_commands, name="episodes")

Pattern = Annotated[str, typer.Argument(help="Shell pattern, such as '*maml*'.")]


@app.callback(invoke_without_command=True)
def start(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.", is_eager=True)] = False,
) -> None:
    """Few-shot benchmarks: MAML, ANIL and KM-MAML with intervals that can be trusted.

    \b
    To start, without any data of yours, in about three minutes:
      fewshot-km run quickstart
    Then: `list` shows other grids, `config explain` what a
    grid of your own can say, `data info NAME` your images.

    \b
    Exit status: 0 all is done, 1 a cell failed,
    2 wrong use or bad input, 3 cells are left (no
    time, or another run has them), 130 interrupted,
    143 terminated.
    """
    if follows() and ctx.invoked_subcommand != "run":
        raise typer.Exit  # only `run` shares its work: of torchrun's processes, rank 0 alone does the rest
    if version:
        print(f"fewshot-km {package_version('fewshot_km')}")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        print(ctx.get_help())
        raise typer.Exit
    load_entry_points()


app.command("run")(run_command)
app.command("tune")(tune_command)
app.command("evaluate")(evaluate_command)


@app.command("list")
def list_grids(
    grid: Annotated[str | None, typer.Argument(metavar="[GRID]", help="A grid: list its cells.")] = None,
    results: Results = RunOptions.results,
    only: Only = None,
    settings: Settings = None,
    plugin: Plugins = None,
) -> None:
    """List the shipped grids; or the cells of one: done, to do, unfinished, running, failed."""
    load_plugins(plugin)
    if grid is None:
        shipped = ((name, load_grid(path)) for name, path in shipped_grids().items())
        print_rows(("grid", "cells", "what it is"), ((name, str(len(g.cells)), g.description) for name, g in shipped))
        return
    loaded = load_grid(find_grid(grid), parse_settings(settings or ()))
    store = ResultStore(results, loaded.name)
    cells = select(loaded.cells, only or (), None)
    rows = [(cell.task, cell.learner, str(cell.seed), *_state(store, cell)) for cell in cells]
    print_rows(("task", "learner", "seed", "state", "trained", "result"), rows)
    for line in say_finished_otherwise(cells, store):
        print_line(line)


def _state(store: ResultStore, cell: Cell) -> tuple[str, str, str]:
    """State, time of training, and what is known of the result."""
    state = store.state(cell)
    if state == "done":
        record = store.read(cell).record
        found = f"test accuracy {100 * record['results']['test_accuracy']:.2f} %"
        if record.get("dataset_partial"):
            found += f"; partial: {record['dataset_partial']}"
        seconds = record["results"].get("train_seconds")
        return state, "" if seconds is None else duration(seconds), found
    unfinished = store.unfinished(cell)
    kept = unfinished.look()
    trained, found = "", ""
    if kept is not None:
        trained = duration(kept.seconds)
        found = f"iteration {kept.iteration} of {cell.config.outer.iterations}"
        if kept.best_val_accuracy is not None:
            found += f", best validation {100 * kept.best_val_accuracy:.2f} %"
    if state == "failed":
        return state, trained, store.failure(cell)
    if unfinished.is_claimed():
        return "running", trained, found
    return "unfinished" if kept else state, trained, found


app.command("clean")(clean_command)
app.command("report")(report_command)
app.command("compare")(compare_command)


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


@app.command("protocols")
def list_protocols(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A protocol: print its settings.")] = None,
) -> None:
    """List the named protocols that a task can start from; or the settings of one, with their sources."""
    if name is None:
        print_rows(("protocol", "what it is"), ((p.name, p.description) for p in protocols().values()))
    else:
        sys.stdout.write(find_protocol(name).text)


def _print_registry(registry: Registry[Any], pattern: str) -> None:
    names = registry.names(pattern)
    if not names:
        registry.get(pattern)  # raises: says what is known
    rows = ((name, _first_line(registry.get(name)), registry.describe_options(name)) for name in names)
    print_rows((registry.kind, "what it is", "options"), rows)


def _first_line(entry: object) -> str:
    text = entry.__doc__
    return text.strip().partition("\n")[0] if isinstance(text, str) else ""
