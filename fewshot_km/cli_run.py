"""The command `fewshot-km run`: which cells, how, and what is told meanwhile."""

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.filesize import decimal

from fewshot_km.cli_options import DataRoot, Only, Plugins, Results, Settings, load_plugins
from fewshot_km.cli_tables import print_rows, print_table
from fewshot_km.datasets.storage import default_data_root, write_text
from fewshot_km.engine import EXECUTIONS
from fewshot_km.engine.choice import AUTO, check_execution
from fewshot_km.engine.devices import choose_device
from fewshot_km.grid import Cell, Grid, ResultStore, find_grid, load_grid
from fewshot_km.grid.cell_work import CellWorker, Way
from fewshot_km.grid.changes import differences
from fewshot_km.grid.cluster_ray import run_on_ray
from fewshot_km.grid.cluster_slurm import run_on_slurm
from fewshot_km.grid.display import GridDisplay, JsonDisplay, QuietDisplay, duration
from fewshot_km.grid.estimate import estimate
from fewshot_km.grid.parallel import run_parallel
from fewshot_km.grid.run import Outcomes, check_cells, run_grid
from fewshot_km.grid.selection import parse_duration, parse_pairs, parse_settings, select
from fewshot_km.grid.stopping import OUT_OF_TIME, Stop, StoppedRun
from fewshot_km.grid.team import Team, choose_devices, follow, follows
from fewshot_km.grid.tensorboard_log import check_tensorboard
from fewshot_km.grid.unfinished import PERIOD_SECONDS
from fewshot_km.grid.workplace import Workplace
from fewshot_km.reporting.tables import results_table, to_csv, to_markdown

FAILED = 1  # exit status: some cells are marked failed


@dataclass(frozen=True)
class Cluster:
    """Where cells run, if not here, and what each of them gets.

    runner   "here", "ray" or "slurm"
    address  of a Ray cluster; None: one of this machine's own
    slurm    parameters of submitit's executor
    """

    runner: str = "here"
    address: str | None = None
    cpus: float = 1
    gpus: float = 0
    slurm: Sequence[str] = ()


@dataclass(frozen=True)
class RunOptions:
    """What `run` was asked for; the defaults are those of its options."""

    results: Path = Path("results")
    data_root: Path | None = None
    only: Sequence[str] = ()
    shard: str | None = None
    settings: Sequence[str] = ()
    device: str = "auto"
    devices: str = "auto"
    jobs: int = 1  # one cell uses all cores by itself, and is done sooner than two side by side
    budget: str | None = None
    quiet: bool = False
    json: bool = False
    plugins: Sequence[Path] = ()
    way: Way = field(default_factory=Way)
    cluster: Cluster = field(default_factory=Cluster)


class Runner(StrEnum):
    """Where cells run."""

    HERE = "here"
    RAY = "ray"
    SLURM = "slurm"


def run_command(
    grid: Annotated[str, typer.Argument(metavar="GRID", help="A shipped grid's name, or the path of a TOML file.")],
    results: Results = RunOptions.results,
    data_root: DataRoot = None,
    only: Only = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="The I-th of N shares of the cells: for a batch queue, one share a job."),
    ] = None,
    settings: Settings = None,
    device: Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu, cuda, cuda:1, ...")] = "auto",
    devices: Annotated[
        str, typer.Option(help="Processes that share each meta-batch: auto (CPU: one per core; GPU: one) or a number.")
    ] = "auto",
    jobs: Annotated[int, typer.Option(min=1, help="Cells at once, in processes that share the cores.")] = 1,
    budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="Stop cleanly after 90s, 30m, 2h, ...; go on later.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Run nothing: say what would run, and what time and memory it would take.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try cells again that failed with these settings.")
    ] = False,
    checkpoint_every: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="How much work may be lost when the machine dies.")
    ] = PERIOD_SECONDS,
    execution: Annotated[
        str, typer.Option(help=f"How tasks are run: auto (the fastest, measured once), {', '.join(EXECUTIONS)}.")
    ] = AUTO,
    task_chunk: Annotated[
        int | None, typer.Option(min=1, help="Tasks at once in each process.", show_default="what fits into memory")
    ] = None,
    tf32: Annotated[
        bool, typer.Option("--tf32", help="On a GPU: faster products with factors rounded to 10 bits; records say so.")
    ] = False,
    runner: Annotated[
        Runner, typer.Option(help="Where cells run: on this machine, a Ray or a Slurm cluster.")
    ] = Runner.HERE,
    ray_address: Annotated[
        str | None, typer.Option(help="Of the Ray cluster.", show_default="one of this machine's own")
    ] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="For Slurm's jobs, in submitit's names: timeout_min=600, slurm_partition=gpu; may be repeated.",
        ),
    ] = None,
    cell_cpus: Annotated[float, typer.Option(min=1, help="On a cluster: CPU cores of each cell.")] = 1,
    cell_gpus: Annotated[float, typer.Option(min=0, help="On a cluster: GPUs of each cell; on Ray also parts.")] = 0,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write what TensorBoard shows to RESULTS/GRID/tensorboard.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Tell of failures only.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line on standard output, instead of progress and table.")
    ] = False,
    plugin: Plugins = None,
) -> None:
    """Run the cells of a grid that are not done yet, then print and save its table.

    Leave it at any time: the same command goes on where it was.
    """
    load_plugins(plugin)
    options = RunOptions(
        results=results,
        data_root=data_root,
        only=only or (),
        shard=shard,
        settings=settings or (),
        device=device,
        devices=devices,
        jobs=jobs,
        budget=budget,
        quiet=quiet,
        json=as_json,
        plugins=plugin or (),
        way=Way(execution, task_chunk, tf32, checkpoint_every, tensorboard, retry_failed),
        cluster=Cluster(runner, ray_address, cell_cpus, cell_gpus, slurm or ()),
    )
    if dry_run:
        plan(grid, options)
    else:
        run(grid, options)


def plan(name: str, options: RunOptions) -> None:
    """Print what a run would do, estimated from a few measured iterations of each kind of cell."""
    grid, cells, store = _read(name, options)
    console = Console(stderr=True)
    waiting, _ = _sort(cells, store, options, console)
    if not waiting:
        console.print(f"{grid.name}: nothing to run", highlight=False)
        return
    device, jobs = choose_device(options.device), min(options.jobs, len(waiting))
    threads = max(1, torch.get_num_threads() // jobs)
    torch.set_num_threads(threads)
    ranks = choose_devices(options.devices, device, max(cell.config.outer.meta_batch for cell in waiting))
    workplace = replace(_workplace(name, waiting, store, options, max(1, threads // ranks)), devices="1")
    with Stop() as stop, Team(1, device, []) as team:
        checker = CellWorker(store, workplace.data_root, team, stop, QuietDisplay(), options.way)
        check_cells(grid, waiting, checker)
    estimates = estimate(
        waiting, workplace, ranks, lambda cell: console.print(f"measuring {cell.task}/{cell.learner}", highlight=False)
    )
    print_rows(
        ("cell", "iterations", "training", "testing", "parameters", "adapted", "memory"),
        (
            (
                str(e.cell),
                f"{e.iterations_left:,}",
                duration(e.train_seconds),
                duration(e.test_seconds),
                f"{e.meta_parameters:,}",
                f"{e.adapted_parameters:,}",
                "?" if e.peak_bytes is None else decimal(e.peak_bytes),
            )
            for e in estimates
        ),
    )
    total = sum(e.train_seconds + e.test_seconds for e in estimates) / jobs
    how = f"{jobs} cells at once, " if jobs > 1 else ""
    how += f"{ranks} processes each" if ranks > 1 else "one process each"
    print(f"{len(waiting)} cells, about {duration(total)} in all ({how}, on {device}, without compiling)")


def run(name: str, options: RunOptions) -> None:
    """Run a grid; raises typer.Exit with its status where cells failed or are left."""
    if follows():
        follow(options.data_root or default_data_root(), choose_device(options.device))
        return
    choose_device(options.device)  # raises for one that is not there
    check_execution(options.way.execution)
    if options.way.tensorboard:
        check_tensorboard()
    seconds = None if options.budget is None else parse_duration(options.budget)
    grid, cells, store = _read(name, options)
    console = Console(stderr=True, quiet=options.quiet or options.json)
    waiting, failed = _sort(cells, store, options, console)
    for cell in cells:
        if store.state(cell) == "done":
            store.unfinished(cell).discard()
    outcomes = Outcomes(failed=failed)
    if waiting:
        try:
            with Stop(seconds, options.budget or "") as stop:
                new = _run_waiting(name, grid, waiting, store, options, console, stop)
        except StoppedRun as stopped:
            if stopped.status == OUT_OF_TIME:  # nobody is in a hurry
                _write_table(grid, store, options, console)
            raise
        outcomes.failed += new.failed
        outcomes.elsewhere += [(cell, who) for cell, who in new.elsewhere if store.state(cell) != "done"]
    elif not failed:
        console.print(f"{grid.name}: all {len(cells)} cells are done; nothing to run", highlight=False)
    _write_table(grid, store, options, console)
    _leave(cells, outcomes)


def _read(name: str, options: RunOptions) -> tuple[Grid, list[Cell], ResultStore]:
    grid = load_grid(find_grid(name), parse_settings(options.settings))
    return grid, select(grid.cells, options.only, options.shard), ResultStore(options.results, grid.name)


def _sort(
    cells: Sequence[Cell], store: ResultStore, options: RunOptions, console: Console
) -> tuple[list[Cell], list[Cell]]:
    """The cells that are to be run, and those that failed before; says what is run again because it was edited."""
    states = {str(cell): store.state(cell) for cell in cells}
    failed = [] if options.way.retry_failed else [cell for cell in cells if states[str(cell)] == "failed"]
    waiting = [cell for cell in cells if states[str(cell)] != "done" and cell not in failed]
    told: dict[tuple[str, str, str], list[str]] = {}
    for cell in waiting:
        if before := store.settings_before(cell):
            changes = ", ".join(differences(before, cell.config.model_dump(mode="json")))
            told.setdefault((cell.task, cell.learner, changes), []).append(str(cell.seed))
    for (task, learner, changes), seeds in told.items():
        which = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}"
        text = f"{task}/{learner}, {which}: settings changed: {changes}; earlier results are kept aside"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    for cell in failed:
        text = f"{cell}: failed before ({store.failure(cell)}); --retry-failed tries again"
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    return waiting, failed


def _run_waiting(
    name: str, grid: Grid, waiting: list[Cell], store: ResultStore, options: RunOptions, console: Console, stop: Stop
) -> Outcomes:
    device, root, cluster = choose_device(options.device), options.data_root or default_data_root(), options.cluster
    is_here = cluster.runner == Runner.HERE
    jobs = min(options.jobs, len(waiting)) if is_here else 1
    threads = max(1, torch.get_num_threads() // jobs) if is_here else int(cluster.cpus)
    most_tasks = max(cell.config.outer.meta_batch for cell in waiting)
    torch.set_num_threads(threads)
    processes = choose_devices(options.devices, device, most_tasks) if is_here else 1
    _say_plan(grid, waiting, device, jobs, processes, cluster, console)
    display = _display(options, len(waiting), console)
    workplace = _workplace(name, waiting, store, options, threads)
    if is_here and jobs == 1:
        with Team(processes, device, workplace.command) as team, display:
            return run_grid(grid, waiting, CellWorker(store, root, team, stop, display, options.way))
    with Team(1, device, []) as team:
        check_cells(grid, waiting, CellWorker(store, root, team, stop, display, options.way))
        store.prepare()
    with display:
        if is_here:
            return run_parallel(waiting, workplace, jobs, stop, display)
        if cluster.runner == Runner.RAY:
            address, cpus, gpus = cluster.address, cluster.cpus, cluster.gpus
            return run_on_ray(waiting, workplace, stop, display, address=address, cpus=cpus, gpus=gpus)
        parameters = {"cpus_per_task": int(cluster.cpus), **parse_pairs("--slurm", cluster.slurm)}
        if cluster.gpus:
            parameters.setdefault("gpus_per_node", math.ceil(cluster.gpus))
        name = parameters.pop("cluster", "slurm")
        return run_on_slurm(waiting, workplace, stop, display, cluster=name, parameters=parameters)


def _display(options: RunOptions, cells: int, console: Console) -> GridDisplay | QuietDisplay | JsonDisplay:
    if options.json:
        return JsonDisplay(sys.stdout)
    return QuietDisplay() if options.quiet else GridDisplay(cells, console)


def _say_plan(
    grid: Grid, waiting: list[Cell], device: torch.device, jobs: int, processes: int, cluster: Cluster, console: Console
) -> None:
    done = len(grid.cells) - len(waiting)
    where = f"on {device}" if cluster.runner == Runner.HERE else f"on {cluster.runner}"
    console.print(
        f"{grid.name}: {len(waiting)} cells to run"
        + (f", {done} of the grid left out or done before" if done else "")
        + f", {where}"
        + (f", {jobs} at once" if jobs > 1 else "")
        + (f", {processes} processes{' each' if jobs > 1 else ''}" if processes > 1 else ""),
        highlight=False,
    )


def _workplace(name: str, waiting: Sequence[Cell], store: ResultStore, options: RunOptions, threads: int) -> Workplace:
    root = (options.data_root or default_data_root()).absolute()  # a cluster's processes start in folders of their own
    plugins = [path.absolute() for path in options.plugins]
    settings = [f"--set={text}" for text in options.settings]
    files = [f"--plugin={path}" for path in plugins]
    grid = str(find_grid(name).absolute())
    is_here = options.cluster.runner == Runner.HERE
    return Workplace(
        store=store if is_here else ResultStore(store.folder.parent.absolute(), store.folder.name),
        data_root=root,
        plugins=tuple(plugins),
        device=options.device,
        devices=options.devices if is_here else "1",
        threads=threads,
        most_tasks=max(cell.config.outer.meta_batch for cell in waiting),
        command=("run", grid, f"--data-root={root}", f"--device={options.device}", *settings, *files),
        way=options.way,
    )


def _write_table(grid: Grid, store: ResultStore, options: RunOptions, console: Console) -> None:
    if not any(store.state(cell) == "done" for cell in grid.cells):
        return
    table = results_table(grid, store)
    write_text(store.folder / "table.md", to_markdown(table))
    write_text(store.folder / "table.csv", to_csv(table))
    if options.json:
        rows = json.loads(table.rows.to_json(orient="records"))
        print(json.dumps({"event": "table", "rows": rows}, ensure_ascii=False))
    else:
        print_table(table)
    console.print(f"written: {store.folder / 'table.md'} and table.csv", highlight=False, soft_wrap=True)


def _leave(cells: Sequence[Cell], outcomes: Outcomes) -> None:
    for cell, owner in outcomes.elsewhere:
        print(f"{cell}: left to {owner}, which runs it", file=sys.stderr)
    if outcomes.failed:
        names = ", ".join(str(cell) for cell in outcomes.failed)
        print(f"error: {len(outcomes.failed)} of {len(cells)} cells failed: {names}", file=sys.stderr)
        raise typer.Exit(FAILED)
    if outcomes.elsewhere:
        raise typer.Exit(OUT_OF_TIME)
