"""Run a grid, as `fewshot-km run` does."""

import json
import math
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import partial

import torch
import typer
from rich.console import Console

from fewshot_km.accel.choice import check_backend
from fewshot_km.cli.dry_run import print_plan
from fewshot_km.cli.output import print_line, print_table
from fewshot_km.data.storage import default_data_root, write_text
from fewshot_km.errors import ConfigError
from fewshot_km.experiments.cells.cell_worker import CellWorker
from fewshot_km.experiments.cells.stopping import OUT_OF_TIME, Stop, StoppedRun
from fewshot_km.experiments.events.event import Subscriber
from fewshot_km.experiments.events.lines import JsonLines, print_problems
from fewshot_km.experiments.events.tensorboard import check_tensorboard
from fewshot_km.experiments.events.terminal import TerminalDisplay
from fewshot_km.experiments.runners.local import check_jobs, run_parallel
from fewshot_km.experiments.runners.process_group import ProcessGroup, choose_devices, follow
from fewshot_km.experiments.runners.ray_runner import run_on_ray
from fewshot_km.experiments.runners.run_grid import Outcomes, check_cells, run_grid
from fewshot_km.experiments.runners.run_plan import RunPlan, make_run_plan, make_worker_setup, nothing_to_run
from fewshot_km.experiments.runners.slurm_runner import run_on_slurm
from fewshot_km.experiments.runners.worker_setup import RunCells
from fewshot_km.experiments.settings.run_settings import Cluster, Runner, RunOptions
from fewshot_km.experiments.settings.selection import parse_duration, parse_pairs
from fewshot_km.experiments.store.result_store import ResultStore
from fewshot_km.reports.markup import to_markdown
from fewshot_km.reports.report import make_report
from fewshot_km.text import counted, one_line
from fewshot_km.training.devices import choose_device
from fewshot_km.training.launching import follows, launched

FAILED = 1  # exit status: some cells are marked failed


def plan_run(name: str, options: RunOptions) -> None:
    """Print what a run would do."""
    _check_options(options)
    print_plan(name, options)


def run(name: str, options: RunOptions) -> None:
    """Run a grid; raises typer.Exit with its status where cells failed or are left."""
    if follows():
        follow(options.data_root or default_data_root(), choose_device(options.device))
        return
    seconds = _check_options(options)
    plan = make_run_plan(name, options)
    console = Console(stderr=True, quiet=options.quiet or options.json, highlight=False)
    for note in plan.notes:
        console.print(one_line(note), markup=False, soft_wrap=True)
    for cell in plan.cells:
        if plan.store.state(cell) == "done":
            plan.store.unfinished(cell).discard()
    outcomes = Outcomes(failed=plan.failed)
    if plan.waiting:
        try:
            with Stop(seconds, options.budget or "") as stop:
                new = _run_waiting(name, plan, options, console, stop)
        except StoppedRun as stopped:
            if stopped.status == OUT_OF_TIME:  # nobody is in a hurry
                _write_table(plan, options, console)
            raise
        outcomes.failed += new.failed
        outcomes.elsewhere += [(cell, who) for cell, who in new.elsewhere if plan.store.state(cell) != "done"]
    elif not plan.failed:
        console.print(nothing_to_run(plan), markup=False, soft_wrap=True)
    _write_table(plan, options, console)
    _leave(plan, outcomes)


def _check_options(options: RunOptions) -> float | None:
    """Raise ConfigError for values that need no grid to be wrong; the seconds of the budget, if there is one."""
    if launched() and (options.jobs > 1 or options.cluster.runner != Runner.HERE):
        what = "--jobs" if options.jobs > 1 else f"--runner {options.cluster.runner}"
        raise ConfigError(f"{what}: torchrun's processes share the tasks of one cell at a time; use one or the other")
    choose_device(options.device)
    check_backend(options.run.backend)
    if options.run.tensorboard:
        check_tensorboard()
    return None if options.budget is None else parse_duration(options.budget)


def _run_waiting(name: str, plan: RunPlan, options: RunOptions, console: Console, stop: Stop) -> Outcomes:
    waiting, store, cluster = plan.waiting, plan.store, options.cluster
    device, root = choose_device(options.device), options.data_root or default_data_root()
    is_here = cluster.runner == Runner.HERE
    jobs = min(options.jobs, len(waiting)) if is_here else 1
    check_jobs(jobs)
    threads = max(1, torch.get_num_threads() // jobs) if is_here else int(cluster.cpus)
    setup = make_worker_setup(name, plan, options, threads)
    if is_here:
        torch.set_num_threads(threads)
    processes = choose_devices(options.devices, device, setup.most_tasks) if is_here else 1
    _say_plan(plan, device, jobs, processes, cluster, console)
    subscriber = _subscriber(options, len(waiting), console)
    if is_here and jobs == 1:
        with ProcessGroup(processes, device, setup.command) as group, subscriber as display:
            return run_grid(plan.grid, waiting, CellWorker(store, root, group, stop, display, options.run))
    with ProcessGroup(1, device, []) as group:
        worker = CellWorker(store, root, group, stop, print_problems, options.run)
        check_cells(plan.grid, waiting, worker, is_here=is_here)
    with _prepared(store), subscriber as display:
        return _runner(cluster, jobs)(waiting, setup, stop, display)


def _runner(cluster: Cluster, jobs: int) -> RunCells:
    if cluster.runner == Runner.HERE:
        return partial(run_parallel, jobs=jobs)
    if cluster.runner == Runner.RAY:
        return partial(run_on_ray, address=cluster.address, cpus=cluster.cpus, gpus=cluster.gpus)
    parameters = {"cpus_per_task": int(cluster.cpus), **parse_pairs("--slurm", cluster.slurm)}
    if cluster.gpus:
        parameters.setdefault("gpus_per_node", math.ceil(cluster.gpus))
    return partial(run_on_slurm, cluster=parameters.pop("cluster", "slurm"), parameters=parameters)


@contextmanager
def _prepared(store: ResultStore) -> Iterator[None]:
    """Make the store's folder; delete it again where a cluster or a process could not be had and it is empty."""
    new = [path for path in (store.folder / "jobs", store.folder, *store.folder.parents) if not path.exists()]
    store.prepare()
    try:
        yield
    except ConfigError:
        for path in new:
            with suppress(OSError):  # something is in it
                path.rmdir()
        raise


def _subscriber(options: RunOptions, cells: int, console: Console) -> AbstractContextManager[Subscriber]:
    if options.json:
        return nullcontext(JsonLines(sys.stdout))
    return nullcontext(print_problems) if options.quiet else TerminalDisplay(cells, console)


def _say_plan(
    plan: RunPlan, device: torch.device, jobs: int, processes: int, cluster: Cluster, console: Console
) -> None:
    waiting = len(plan.waiting)
    done = len(plan.grid.cells) - waiting
    where = f"on {device}" if cluster.runner == Runner.HERE else f"on {cluster.runner}"
    console.print(
        f"{plan.grid.name}: {counted(waiting, 'cell')} to run"
        + (f", {done} of the grid left out or done before" if done else "")
        + f", {where}"
        + (f", {jobs} at once" if jobs > 1 else "")
        + (f", {processes} processes{' each' if jobs > 1 else ''}" if processes > 1 else "")
    )


def _write_table(plan: RunPlan, options: RunOptions, console: Console) -> None:
    store = plan.store
    if not any(store.state(cell) == "done" for cell in plan.grid.cells):
        return
    report = make_report(plan.grid, store)
    write_text(store.folder / "table.md", to_markdown(report.tables()))
    write_text(store.folder / "table.csv", report.csv())
    if options.json:
        rows = json.loads(report.frame().to_json(orient="records"))
        print(json.dumps({"event": "table", "rows": rows}))
    else:
        for table in report.tables():
            print_table(table)
    console.print(one_line(f"written: {store.folder / 'table.md'} and table.csv"), markup=False, soft_wrap=True)


def _leave(plan: RunPlan, outcomes: Outcomes) -> None:
    for cell, owner in outcomes.elsewhere:
        print_line(f"{cell}: left to {owner}, which runs it", sys.stderr)
    if outcomes.failed:
        names = ", ".join(str(cell) for cell in outcomes.failed)
        print_line(f"error: {len(outcomes.failed)} of {counted(len(plan.cells), 'cell')} failed: {names}", sys.stderr)
        raise typer.Exit(FAILED)
    if outcomes.elsewhere:
        raise typer.Exit(OUT_OF_TIME)
