"""The command `fewshot-km run`: which cells, how, and what is told meanwhile."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from fewshot_km.cli_options import DataRoot, Only, Plugins, Results, Settings, load_plugins
from fewshot_km.cli_tables import print_table
from fewshot_km.datasets.storage import default_data_root, write_text
from fewshot_km.engine import EXECUTIONS
from fewshot_km.engine.choice import AUTO, check_execution
from fewshot_km.engine.devices import choose_device
from fewshot_km.grid import Cell, Grid, ResultStore, find_grid, load_grid
from fewshot_km.grid.cell_work import CellWorker, Way
from fewshot_km.grid.changes import differences
from fewshot_km.grid.display import GridDisplay, JsonDisplay, QuietDisplay
from fewshot_km.grid.parallel import Workplace, run_parallel
from fewshot_km.grid.run import Outcomes, check_grid, run_grid
from fewshot_km.grid.selection import parse_duration, parse_settings, select
from fewshot_km.grid.stopping import OUT_OF_TIME, Stop
from fewshot_km.grid.team import Team, choose_devices, follow, follows
from fewshot_km.grid.unfinished import PERIOD_SECONDS
from fewshot_km.reporting.tables import results_table, to_csv, to_markdown

FAILED = 1  # exit status: some cells are marked failed


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
    way = Way(execution, task_chunk, tf32, checkpoint_every, retry_failed)
    options = RunOptions(
        results,
        data_root,
        only or (),
        shard,
        settings or (),
        device,
        devices,
        jobs,
        budget,
        quiet,
        as_json,
        plugin or (),
        way,
    )
    run(grid, options)


def run(name: str, options: RunOptions) -> None:
    """Run a grid; raises typer.Exit with its status where cells failed or are left."""
    device = choose_device(options.device)
    root = options.data_root or default_data_root()
    if follows():
        follow(root, device)
        return
    check_execution(options.way.execution)
    seconds = None if options.budget is None else parse_duration(options.budget)
    grid = load_grid(find_grid(name), parse_settings(options.settings))
    cells = select(grid.cells, options.only, options.shard)
    store = ResultStore(options.results, grid.name)
    console = Console(stderr=True, quiet=options.quiet or options.json)
    waiting, failed = _sort(cells, store, options, console)
    outcomes = Outcomes(failed=failed)
    if waiting:
        with Stop(seconds, options.budget or "") as stop:
            _run_waiting(name, grid, waiting, store, root, device, options, console, stop, outcomes)
    elif not failed:
        console.print(f"{grid.name}: all {len(cells)} cells are done; nothing to run", highlight=False)
    if any(store.state(cell) == "done" for cell in grid.cells):
        _write_table(grid, store, options, console)
    _leave(cells, outcomes)


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
    name: str,
    grid: Grid,
    waiting: list[Cell],
    store: ResultStore,
    root: Path,
    device: torch.device,
    options: RunOptions,
    console: Console,
    stop: Stop,
    outcomes: Outcomes,
) -> None:
    jobs, threads = min(options.jobs, len(waiting)), torch.get_num_threads()
    most_tasks = max(cell.config.outer.meta_batch for cell in waiting)
    torch.set_num_threads(max(1, threads // jobs))
    processes = choose_devices(options.devices, device, most_tasks)
    done = len(grid.cells) - len(waiting)
    console.print(
        f"{grid.name}: {len(waiting)} cells to run"
        + (f", {done} of the grid left out or done before" if done else "")
        + f", on {device}"
        + (f", {jobs} at once" if jobs > 1 else "")
        + (f", {processes} processes each" if processes > 1 else ""),
        highlight=False,
    )
    settings = [f"--set={text}" for text in options.settings]
    plugins = [f"--plugin={path}" for path in options.plugins]
    command = ["run", name, f"--data-root={root}", f"--device={options.device}", *settings, *plugins]
    display: GridDisplay | QuietDisplay | JsonDisplay
    if options.json:
        display = JsonDisplay(sys.stdout)
    else:
        display = QuietDisplay() if options.quiet else GridDisplay(len(waiting), console)
    if jobs == 1:
        with Team(processes, device, command) as team, display:
            worker = CellWorker(store, root, team, stop, display, options.way)
            new = run_grid(grid, waiting, worker)
    else:
        with Team(1, device, []) as team, display:
            check_grid(grid, waiting, CellWorker(store, root, team, stop, display, options.way))
            workplace = Workplace(
                store,
                root,
                tuple(options.plugins),
                device,
                options.devices,
                threads=max(1, threads // jobs),
                most_tasks=most_tasks,
                command=tuple(command),
                way=options.way,
            )
            new = run_parallel(waiting, workplace, jobs, stop, display)
    outcomes.failed += new.failed
    outcomes.elsewhere += new.elsewhere


def _write_table(grid: Grid, store: ResultStore, options: RunOptions, console: Console) -> None:
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
