"""Which cells of a grid a run has to do, and why."""

from collections.abc import Sequence
from dataclasses import dataclass

from fewshot_km.data.storage import default_data_root
from fewshot_km.experiments.runners.worker_setup import WorkerSetup
from fewshot_km.experiments.settings.differences import differences
from fewshot_km.experiments.settings.grid import Cell, Grid, find_grid, load_grid
from fewshot_km.experiments.settings.run_settings import Runner, RunOptions
from fewshot_km.experiments.settings.selection import parse_settings, select
from fewshot_km.experiments.store.result_store import ResultStore
from fewshot_km.text import every


@dataclass(frozen=True)
class RunPlan:
    """The cells that were asked for, those of them to run, and those that failed before and are not tried again.

    `notes` say which cells are run again because their settings changed, and which are not tried again.
    """

    grid: Grid
    store: ResultStore
    cells: list[Cell]
    waiting: list[Cell]
    failed: list[Cell]
    notes: list[str]


def make_run_plan(name: str, options: RunOptions) -> RunPlan:
    """Read a grid and the states of its cells; raises FewshotError for what is wrong with the file or the options."""
    grid = load_grid(find_grid(name), parse_settings(options.settings))
    cells = select(grid.cells, options.only, options.shard)
    store = ResultStore(options.results, grid.name)
    waiting, failed = [], []
    for cell in cells:
        state = store.state(cell)
        if state == "failed" and not options.run.retry_failed:
            failed.append(cell)
        elif state != "done":
            waiting.append(cell)
    return RunPlan(grid, store, cells, waiting, failed, [*_changes(waiting, store), *_failures(failed, store)])


def nothing_to_run(plan: RunPlan) -> str:
    """Why no cell is waiting, in a line."""
    if not plan.cells:
        return f"{plan.grid.name}: this share is empty, as there are more shares than cells; nothing to run"
    count = len(plan.cells)
    done = "" if plan.failed else f"{every(count, 'cell')} {'is' if count == 1 else 'are'} done; "
    return f"{plan.grid.name}: {done}nothing to run"


def _changes(waiting: Sequence[Cell], store: ResultStore) -> list[str]:
    told: dict[tuple[str, str, str], list[str]] = {}
    for cell in waiting:
        if before := store.settings_before(cell):
            changes = ", ".join(differences(before, cell.config.model_dump(mode="json")))
            told.setdefault((cell.task, cell.learner, changes), []).append(str(cell.seed))
    return [
        f"{task}/{learner}, seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}: settings changed: {changes}; "
        "earlier results are kept aside"
        for (task, learner, changes), seeds in told.items()
    ]


def _failures(failed: Sequence[Cell], store: ResultStore) -> list[str]:
    return [f"{cell}: failed before ({store.failure(cell)}); --retry-failed tries again" for cell in failed]


def make_worker_setup(name: str, plan: RunPlan, options: RunOptions, threads: int) -> WorkerSetup:
    """Describe to other processes how to run the waiting cells, with `threads` threads each."""
    root = (options.data_root or default_data_root()).absolute()  # a cluster's processes start in folders of their own
    plugins = [path.absolute() for path in options.plugins]
    settings = [f"--set={text}" for text in options.settings]
    files = [f"--plugin={path}" for path in plugins]
    grid = str(find_grid(name).absolute())
    is_here = options.cluster.runner == Runner.HERE
    return WorkerSetup(
        store=ResultStore(plan.store.folder.parent.absolute(), plan.store.folder.name),
        data_root=root,
        plugins=tuple(plugins),
        device=options.device,
        devices=options.devices if is_here else "1",
        threads=threads,
        most_tasks=max(cell.config.outer.meta_batch for cell in plan.waiting),
        command=("run", grid, f"--data-root={root}", f"--device={options.device}", *settings, *files),
        settings=options.run,
    )
