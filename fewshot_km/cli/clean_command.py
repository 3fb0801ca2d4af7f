"""The command `fewshot-km clean`: what no cell of a grid goes on from any more."""

from typing import Annotated

import typer
from rich.filesize import decimal

from fewshot_km.cli.options import GridName, Plugins, Results, Settings, load_plugins
from fewshot_km.cli.output import print_line
from fewshot_km.experiments.settings.grid import find_grid, load_grid
from fewshot_km.experiments.settings.run_settings import RunOptions
from fewshot_km.experiments.settings.selection import parse_settings
from fewshot_km.experiments.store.obsolete import find_obsolete, remove
from fewshot_km.experiments.store.result_store import ResultStore


def clean_command(
    grid: GridName,
    results: Results = RunOptions.results,
    older_results: Annotated[
        bool, typer.Option("--older-results", help="Also finished cells of other settings, or that left the grid.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
    settings: Settings = None,
    plugin: Plugins = None,
) -> None:
    """Delete what no cell of a grid goes on from any more, after asking."""
    load_plugins(plugin)
    loaded = load_grid(find_grid(grid), parse_settings(settings or ()))
    store = ResultStore(results, loaded.name)
    found = find_obsolete(loaded, store, results=older_results)
    if not found:
        print_line(f"{store.folder}: nothing is left over")
        return
    for item in found:
        print_line(f"{item.path}: {item.what}, {decimal(item.size)}")
    if not yes and not typer.confirm(f"Delete {'this' if len(found) == 1 else f'these {len(found)}'}?"):
        print("nothing was deleted")
        return
    remove(found)
    print(f"deleted {len(found)}, {decimal(sum(item.size for item in found))}")
