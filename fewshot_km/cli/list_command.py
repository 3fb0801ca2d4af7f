"""The commands that list what there is: `fewshot-km list`, `learners`, `networks`, `datasets` and `protocols`."""

import sys
from typing import Annotated, Any

import typer

from fewshot_km.cli.options import Only, Plugins, Results, Settings, load_plugins
from fewshot_km.cli.output import print_line, print_rows
from fewshot_km.experiments.events.clock import duration
from fewshot_km.experiments.protocols import find_protocol, protocols
from fewshot_km.experiments.settings.grid import Cell, find_grid, load_grid, shipped_grids
from fewshot_km.experiments.settings.run_settings import RunOptions
from fewshot_km.experiments.settings.selection import parse_settings, select
from fewshot_km.experiments.store.result_store import ResultStore, say_finished_otherwise
from fewshot_km.registry import Registry

Pattern = Annotated[str, typer.Argument(help="Shell pattern, such as '*maml*'.")]


def list_command(
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
    """Return the state, the time of training, and what is known of the result."""
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


def protocols_command(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="A protocol: print its settings.")] = None,
) -> None:
    """List the named protocols that a task can start from; or the settings of one, with their sources."""
    if name is None:
        print_rows(("protocol", "what it is"), ((p.name, p.description) for p in protocols().values()))
    else:
        sys.stdout.write(find_protocol(name).text)


def add_names_command(app: typer.Typer, command: str, registry: Registry[Any]) -> None:
    """Add a command that lists a registry."""

    @app.command(command, help=f"List the {registry.plural} that a grid can name.")
    def list_names(pattern: Pattern = "*", plugin: Plugins = None) -> None:
        load_plugins(plugin)
        names = registry.names(pattern)
        if not names:
            registry.get(pattern)  # raises: says what is known
        rows = ((name, _first_line(registry.get(name)), registry.describe_options(name)) for name in names)
        print_rows((registry.kind, "what it is", "options"), rows)


def _first_line(entry: object) -> str:
    text = entry.__doc__
    return text.strip().partition("\n")[0] if isinstance(text, str) else ""
