"""`fewshot-km run --dry-run`: what would run, and what it would take."""

from dataclasses import replace

import torch
from rich.console import Console
from rich.filesize import decimal

from fewshot_km.cli.output import print_rows
from fewshot_km.experiments.cells.cell_worker import CellWorker
from fewshot_km.experiments.cells.stopping import Stop
from fewshot_km.experiments.events.clock import duration
from fewshot_km.experiments.events.lines import print_problems
from fewshot_km.experiments.runners.estimate import estimate
from fewshot_km.experiments.runners.local import check_jobs
from fewshot_km.experiments.runners.process_group import ProcessGroup, choose_devices
from fewshot_km.experiments.runners.run_grid import check_cells
from fewshot_km.experiments.runners.run_plan import make_run_plan, make_worker_setup, nothing_to_run
from fewshot_km.experiments.settings.run_settings import RunOptions
from fewshot_km.text import counted, one_line
from fewshot_km.training.devices import choose_device
from fewshot_km.training.launching import follows


def print_plan(name: str, options: RunOptions) -> None:
    """Print what a run would do, estimated from a few measured iterations of each kind of cell."""
    if follows():  # rank 0 of torchrun's processes says it
        return
    plan, console = make_run_plan(name, options), Console(stderr=True, highlight=False)
    for note in plan.notes:
        console.print(one_line(note), markup=False, soft_wrap=True)
    if not plan.waiting:
        console.print(nothing_to_run(plan), markup=False, soft_wrap=True)
        return
    device, jobs = choose_device(options.device), min(options.jobs, len(plan.waiting))
    check_jobs(jobs)
    threads = max(1, torch.get_num_threads() // jobs)
    torch.set_num_threads(threads)
    ranks = choose_devices(options.devices, device, max(cell.config.outer.meta_batch for cell in plan.waiting))
    setup = replace(make_worker_setup(name, plan, options, max(1, threads // ranks)), devices="1")
    with Stop() as stop, ProcessGroup(1, device, []) as group:
        checker = CellWorker(plan.store, setup.data_root, group, stop, print_problems, options.run)
        check_cells(plan.grid, plan.waiting, checker)
    estimates = estimate(
        plan.waiting,
        setup,
        ranks,
        lambda cell: console.print(f"measuring {cell.task}/{cell.learner}", markup=False, soft_wrap=True),
    )
    print_rows(
        ("cell", "iterations", "training", "testing", "parameters", "adapted", "memory"),
        (
            (
                str(of.cell),
                f"{of.iterations_left:,}",
                duration(of.train_seconds),
                duration(of.test_seconds),
                f"{of.meta_parameters:,}",
                f"{of.adapted_parameters:,}",
                "?" if of.peak_bytes is None else decimal(of.peak_bytes),
            )
            for of in estimates
        ),
    )
    total = sum(of.train_seconds + of.test_seconds for of in estimates) / jobs
    how = f"{jobs} cells at once, " if jobs > 1 else ""
    how += f"{ranks} processes each" if ranks > 1 else "one process each"
    cells = counted(len(plan.waiting), "cell")
    print(f"{cells}, about {duration(total)} in all ({how}, on {device}, without compiling)")
