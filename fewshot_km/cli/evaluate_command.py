"""The command `fewshot-km evaluate`: what newer versions know about a finished cell, for cells of older ones."""

from typing import Annotated

import typer

from fewshot_km.cli.options import DataRoot, GridName, Only, Plugins, Results, Settings, load_plugins
from fewshot_km.experiments.settings.run_settings import RunOptions


def evaluate_command(
    grid: GridName,
    results: Results = RunOptions.results,
    data_root: DataRoot = None,
    device: Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu, cuda, cuda:1, ...")] = "auto",
    only: Only = None,
    settings: Settings = None,
    plugin: Plugins = None,
) -> None:
    """Analyse the finished cells of a grid that have no analysis yet, from their kept weights, without training.

    Open episodes, accuracy against inner steps, example answers, kernels, the time of adaptation: as `run` does it.
    """
    load_plugins(plugin)
    from fewshot_km.cli.evaluating import evaluate_cells  # torch, which takes seconds to import

    options = RunOptions(results=results, data_root=data_root, only=only or (), settings=settings or (), device=device)
    evaluate_cells(grid, options)
