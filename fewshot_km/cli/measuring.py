"""Measure backends, as `fewshot-km tune` does."""

import platform

import torch
from rich.console import Console

from fewshot_km.accel.backends import BACKENDS
from fewshot_km.cli.output import print_rows
from fewshot_km.data import load_dataset
from fewshot_km.data.storage import default_data_root
from fewshot_km.experiments.runners.process_group import choose_devices
from fewshot_km.experiments.runners.tuning import TunedCell, Tuning, read_tuning, tune_cell, write_tuning
from fewshot_km.experiments.settings.grid import find_grid, load_grid
from fewshot_km.experiments.settings.run_settings import RunOptions
from fewshot_km.experiments.settings.selection import parse_settings, select
from fewshot_km.experiments.store.result_store import ResultStore
from fewshot_km.training.devices import choose_device


def tune(name: str, options: RunOptions, *, compiled: bool, rounds: int) -> None:
    """Measure the backends of a grid's cells, write the fastest to its tuning.json, and print them.

    `compiled`: also the one that is compiled. `rounds`: how often each runs.
    """
    on, root = choose_device(options.device), options.data_root or default_data_root()
    loaded = load_grid(find_grid(name), parse_settings(options.settings))
    store = ResultStore(options.results, loaded.name)
    store.prepare()
    before = read_tuning(store.folder)
    kinds = {f"{cell.task}/{cell.learner}": cell for cell in select(loaded.cells, options.only, None)}
    names = [of for of, backend in BACKENDS.items() if compiled or not backend.compiles]
    processes = choose_devices(options.devices, on, max(cell.config.outer.meta_batch for cell in kinds.values()))
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
        (key, purpose, backend, ", ".join(f"{of} {s:.3g}" for of, s in seconds.items()))
        for key, tuned in found.items()
        for purpose, backend, seconds in (
            ("training", tuned.training, tuned.training_seconds),
            ("testing", tuned.testing, tuned.testing_seconds),
        )
    ]
    print_rows(("task/learner", "purpose", "fastest", "seconds per meta-batch"), rows)
    print(f"written: {path}; `run` follows it until it is deleted")
