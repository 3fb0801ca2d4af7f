"""Running a grid: everything is checked first, then cell after cell is run and stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from fewshot_km.data import Dataset
from fewshot_km.errors import ConfigError, DataError, FewshotError, PluginError, describe_error
from fewshot_km.experiments.cells.cell_worker import CellWorker, Outcome
from fewshot_km.experiments.cells.parts import make_learner, make_streams
from fewshot_km.experiments.cells.sizes import Memory, check_sizes, memory_here
from fewshot_km.experiments.settings.grid import Cell, Grid
from fewshot_km.experiments.store.result_store import ResultStore
from fewshot_km.plugins.boundary import plugin_code


@dataclass
class Outcomes:
    """The cells of a run that failed, and those that another process runs."""

    failed: list[Cell] = field(default_factory=list)
    elsewhere: list[tuple[Cell, str]] = field(default_factory=list)  # and who runs them

    def note(self, cell: Cell, outcome: Outcome) -> None:
        """Add a cell's outcome."""
        if outcome.kind == "failed":
            self.failed.append(cell)
        elif outcome.kind == "elsewhere":
            self.elsewhere.append((cell, outcome.text))


def run_grid(grid: Grid, waiting: Sequence[Cell], worker: CellWorker) -> Outcomes:
    """Run the waiting cells of a grid in this process.

    Data sets are read, and every learner is built, before the first cell starts: whatever is wrong with the grid, its
    plug-ins or the data raises here, as FewshotError, at once. A cell that fails later is marked failed, with its
    reason, and the others go on.
    """
    check_cells(grid, waiting, worker)
    worker.store.prepare()
    outcomes = Outcomes()
    for cell in waiting:
        outcomes.note(cell, worker.run(cell))
        worker.stop.check()
    worker.group.dismiss()
    return outcomes


def check_cells(grid: Grid, waiting: Sequence[Cell], worker: CellWorker, *, is_here: bool = True) -> None:
    """Raise FewshotError for whatever is wrong with the waiting cells or their data.

    `is_here`: whether they will run on this machine, whose memory bounds their numbers.
    """
    memory = memory_here(worker.group.ranks.device) if is_here else Memory()
    datasets = {str(cell.config.task.dataset): worker.dataset(cell.config.task.dataset) for cell in waiting}
    _check_same_data(grid, datasets, worker.store)
    for cell in {(cell.task, cell.learner): cell for cell in waiting}.values():
        _check_buildable(grid, cell, datasets[str(cell.config.task.dataset)], memory)


def _check_same_data(grid: Grid, datasets: Mapping[str, Dataset], store: ResultStore) -> None:
    """Raise DataError where a finished cell of the grid used other images or splits than those at hand."""
    for cell in grid.cells:
        dataset = datasets.get(str(cell.config.task.dataset))
        if dataset and store.state(cell) == "done" and store.read(cell).record["dataset_digest"] != dataset.digest:
            raise DataError(
                f"{grid.name}: {cell} was run on another version of '{dataset.name}' than the one at hand; "
                f"start anew with another --results, or delete {store.folder / cell.task}"
            )


def _check_buildable(grid: Grid, cell: Cell, dataset: Dataset, memory: Memory) -> None:
    where = f"{grid.name}: {cell.task}/{cell.learner}"
    kind = PluginError if cell.config.plugin_sources else ConfigError
    try:
        make_streams(cell.config, dataset, torch.device("cpu"))  # first: as many ways as there are classes at most
        with plugin_code(lambda error: kind(f"cannot be built: {describe_error(error)}")):
            check_sizes(cell.config, dataset, memory)
            learner = make_learner(cell.config, dataset)
            missing = [name for name in ("init", "adapt", "predict") if not callable(getattr(learner, name, None))]
    except FewshotError as error:
        raise type(error)(f"{where}: {error}") from error
    if missing:
        raise PluginError(f"{where}: a learner needs {missing[0]}(); see fewshot_km.learners.Learner")
