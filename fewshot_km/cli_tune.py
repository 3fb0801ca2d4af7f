"""The command `fewshot-km tune`: which execution is the fastest for each task and learner of a grid."""

import platform
from typing import Annotated

import torch
import typer
from rich.console import Console

from fewshot_km.cli_options import DataRoot, GridName, Only, Plugins, Results, Settings, load_plugins
from fewshot_km.cli_tables import print_rows
from fewshot_km.datasets import load_dataset
from fewshot_km.datasets.storage import default_data_root
from fewshot_km.engine import EXECUTIONS
from fewshot_km.engine.devices import choose_device
from fewshot_km.grid import ResultStore, find_grid, load_grid
from fewshot_km.grid.options import RunOptions
from fewshot_km.grid.selection import parse_settings, select
from fewshot_km.grid.team import choose_devices
from fewshot_km.grid.tuning import TunedCell, Tuning, read_tuning, tune_cell, write_tuning


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
    rounds: Annotated[int, typer.Option(min=1, help="In each round, every execution runs once; medians count.")] = 5,
    plugin: Plugins = None,
) -> None:
    """Measure which execution is the fastest for each task and learner of a grid, and let `run` use it.

    Writes RESULTS/GRID/tuning.json; delete it to go back to the fixed rule. Each execution runs the tasks of one
    meta-batch that one process would have, in turns with the others, while nothing else should run. Results that were
    computed in different ways agree up to rounding, not to the byte.
    """
    load_plugins(plugin)
    on, root = choose_device(device), data_root or default_data_root()
    loaded = load_grid(find_grid(grid), parse_settings(settings or ()))
    store = ResultStore(results, loaded.name)
    store.prepare()
    before = read_tuning(store.folder)
    kinds = {f"{cell.task}/{cell.learner}": cell for cell in select(loaded.cells, only or (), None)}
    names = [name for name, execution in EXECUTIONS.items() if compiled or not execution.compiles]
    processes = choose_devices(devices, on, max(cell.config.outer.meta_batch for cell in kinds.values()))
    threads = max(1, torch.get_num_threads() // processes)
    torch.set_num_threads(threads)
    console = Console(stderr=True, highlight=False)
    kept = before.cells if before.device == on.type else {}
    found: dict[str, TunedCell] = {}
    for key, cell in kinds.items():
        console.print(f"measuring {key}", markup=False, soft_wrap=True)
        wanted = cell.config.task.dataset
        dataset = load_dataset(wanted.name, root, wanted.options)
        found[key] = tune_cell(
            cell, dataset, on, names, processes, rounds, lambda text: console.print(text, markup=False, soft_wrap=True)
        )
        tuning = Tuning(machine=platform.node(), device=on.type, threads=threads, cells={**kept, **found})
        path = write_tuning(store.folder, tuning)
    rows = [
        (key, purpose, execution, ", ".join(f"{name} {s:.3g}" for name, s in seconds.items()))
        for key, tuned in found.items()
        for purpose, execution, seconds in (
            ("training", tuned.training, tuned.training_seconds),
            ("testing", tuned.testing, tuned.testing_seconds),
        )
    ]
    print_rows(("task/learner", "purpose", "fastest", "seconds per meta-batch"), rows)
    print(f"written: {path}; `run` follows it until it is deleted")
