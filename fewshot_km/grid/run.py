"""Running a grid: everything is checked first, then cell after cell is run and stored."""

import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import torch

from fewshot_km.datasets import Dataset, load_dataset
from fewshot_km.engine import Choice, Progress
from fewshot_km.engine.choice import AUTO
from fewshot_km.errors import ConfigError, DataError, DivergenceError, FewshotError, PluginError, describe_error
from fewshot_km.grid.cell_run import CellResult, Compute, make_learner, make_streams, run_cell
from fewshot_km.grid.environment import describe_environment
from fewshot_km.grid.grid import Cell, Grid
from fewshot_km.grid.store import ResultStore
from fewshot_km.grid.team import Team


class Display(Protocol):
    """What is told to the user while cells run."""

    def cell_started(self, cell: Cell) -> None:
        """A cell begins."""

    def compiling(self, cell: Cell, seconds: float) -> None:
        """A training step is being compiled, which may take so long."""

    def chosen(self, cell: Cell, purpose: str, choice: Choice) -> None:
        """An execution was chosen by a new measurement."""

    def trained(self, cell: Cell, progress: Progress) -> None:
        """An iteration of meta-training is done."""

    def tested(self, cell: Cell, episodes: int) -> None:
        """So many more test episodes are done."""

    def cell_finished(self, cell: Cell, summary: Mapping[str, Any]) -> None:
        """A cell is stored; `summary` is the `results` part of its record."""

    def cell_failed(self, cell: Cell, reason: str) -> None:
        """A cell stopped without a result."""


def run_grid(
    grid: Grid,
    waiting: Sequence[Cell],
    store: ResultStore,
    data_root: Path,
    team: Team,
    display: Display,
    *,
    execution: str = AUTO,
    task_chunk: int | None = None,
    tf32: bool = False,
) -> list[Cell]:
    """Run the waiting cells of a grid and return those that failed; for the last three see `Compute`.

    Data sets are read, and every learner is built, before the first cell starts: whatever is wrong with the grid, its
    plug-ins or the data raises here, as FewshotError, at once. A cell that fails later is marked failed, with its
    reason, and the others go on.
    """
    needed = {str(cell.config.task.dataset): cell.config.task.dataset for cell in waiting}
    datasets = {key: load_dataset(wanted.name, data_root, wanted.options) for key, wanted in needed.items()}
    _check_same_data(grid, datasets, store)
    for cell in {(cell.task, cell.learner): cell for cell in waiting}.values():
        _check_buildable(grid, cell, datasets[str(cell.config.task.dataset)])
    store.prepare()
    environment = describe_environment(team.device, team.ranks.size)  # now: a checkout may change while this runs
    failed = []
    for cell in waiting:
        display.cell_started(cell)
        started = datetime.now(UTC)
        compute = Compute(team.device, team.ranks, execution, task_chunk, tf32)
        try:
            team.tell(cell.config, compute)
            result = run_cell(cell.config, datasets[str(cell.config.task.dataset)], compute, _Voice(cell, display))
        except DivergenceError as error:
            failed.append(cell)
            store.write_failure(cell, str(error))
            display.cell_failed(cell, str(error))
        except (FewshotError, OSError):
            raise
        except Exception as error:  # whatever a learner raises must not cost the cells after it
            reason = describe_error(error)
            trace = traceback.format_exc()
            if "vmap" in reason and execution != AUTO:
                reason += f"; this learner cannot run with --execution {execution}"
            failed.append(cell)
            store.write_failure(cell, reason, trace)
            display.cell_failed(cell, f"{reason} (the traceback is in {store.failure_file(cell)})")
            if said := team.after_failure():
                store.write_failure(cell, f"{reason}; {said}", trace)
        else:
            record = _record(cell, datasets, result, compute, environment, started)
            store.write(cell, record, result.training, result.accuracies)
            display.cell_finished(cell, result.summary)
    team.dismiss()
    return failed


class _Voice:
    """A cell's listener: passes on what it hears, with the cell's name."""

    def __init__(self, cell: Cell, display: Display) -> None:
        self._cell = cell
        self._display = display

    def compiling(self, seconds: float) -> None:
        """A training step is being compiled, which may take so long."""
        self._display.compiling(self._cell, seconds)

    def chosen(self, purpose: str, choice: Choice) -> None:
        """An execution was chosen by a new measurement."""
        self._display.chosen(self._cell, purpose, choice)

    def trained(self, progress: Progress) -> None:
        """An iteration of meta-training is done."""
        self._display.trained(self._cell, progress)

    def tested(self, episodes: int) -> None:
        """So many more test episodes are done."""
        self._display.tested(self._cell, episodes)


def _record(
    cell: Cell,
    datasets: Mapping[str, Dataset],
    result: CellResult,
    compute: Compute,
    environment: Mapping[str, Any],
    started: datetime,
) -> dict[str, Any]:
    dataset = datasets[str(cell.config.task.dataset)]
    return {
        "cell": str(cell),
        "config_digest": cell.config.digest(),
        "config": cell.config.model_dump(mode="json"),
        "dataset_digest": dataset.digest,
        "dataset_found": dataset.found,
        "dataset_partial": dataset.partial,
        "results": result.summary,
        "environment": {**environment, "tf32": compute.tf32, "executions": result.executions},
        "started": started.isoformat(timespec="seconds"),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _check_same_data(grid: Grid, datasets: Mapping[str, Dataset], store: ResultStore) -> None:
    """Raise DataError where a finished cell of the grid used other images or splits than those at hand."""
    for cell in grid.cells:
        dataset = datasets.get(str(cell.config.task.dataset))
        if dataset and store.state(cell) == "done" and store.read(cell).record["dataset_digest"] != dataset.digest:
            raise DataError(
                f"{grid.name}: {cell} was run on another version of '{dataset.name}' than the one at hand; "
                f"start anew with another --results, or delete {store.folder / cell.task}"
            )


def _check_buildable(grid: Grid, cell: Cell, dataset: Dataset) -> None:
    where = f"{grid.name}: {cell.task}/{cell.learner}"
    try:
        learner = make_learner(cell.config, dataset)
        make_streams(cell.config, dataset, torch.device("cpu"))
    except FewshotError as error:
        raise type(error)(f"{where}: {error}") from error
    except Exception as error:
        kind = PluginError if cell.config.plugin_sources else ConfigError
        raise kind(f"{where}: cannot be built: {describe_error(error)}") from error
    for method in ("init", "adapt", "predict"):
        if not callable(getattr(learner, method, None)):
            raise PluginError(f"{where}: a learner needs {method}(); see fewshot_km.learners.Learner")
