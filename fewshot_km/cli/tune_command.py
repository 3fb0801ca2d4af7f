"""The command `fewshot-km tune`: which backend is the fastest for each task and learner of a grid."""

from typing import Annotated

import typer

from fewshot_km.cli.options import DataRoot, GridName, Only, Plugins, Results, Settings, load_plugins
from fewshot_km.experiments.settings.run_settings import RunOptions


def tune_command(
    grid: GridName,
    results: Results = RunOptions.results,
    data_root: DataRoot = None,
    only: Only = None,
    settings: Settings = None,
    device: Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu, cuda, cuda:1, ...")] = "auto",
    devices: Annotated[
        str, typer.Option(help="Processes that will share each meta-batch, as for `run`: auto or a number.")
    ] = "auto",
    compiled: Annotated[
        bool, typer.Option("--compiled", help="Also the compiled program, which takes minutes to compile.")
    ] = False,
    rounds: Annotated[int, typer.Option(min=1, help="In each round, every backend runs once; medians count.")] = 5,
    plugin: Plugins = None,
) -> None:
    """Measure which backend is the fastest for each task and learner of a grid, and let `run` use it.

    Writes RESULTS/GRID/tuning.json; delete it to go back to the fixed rule. Each backend runs the tasks of one
    meta-batch that one process would have, in turns with the others, while nothing else should run. Results that were
    computed in different ways agree up to rounding, not to the byte.
    """
    load_plugins(plugin)
    from fewshot_km.cli.measuring import tune  # torch, which takes seconds to import

    options = RunOptions(
        results=results,
        data_root=data_root,
        only=only or (),
        settings=settings or (),
        device=device,
        devices=devices,
    )
    tune(grid, options, compiled=compiled, rounds=rounds)
