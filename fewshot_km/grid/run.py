"""Running a grid: everything is checked first, then cell after cell is run and stored."""

import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import torch

from fewshot_km.datasets import Dataset, load_dataset
from fewshot_km.engine import Progress
from fewshot_km.errors import ConfigError, DataError, DivergenceError, FewshotError, PluginError, describe_error
from fewshot_km.grid.cell_run import CellResult, make_learner, make_streams, run_cell
from fewshot_km.grid.environment import describe_environment
from fewshot_km.grid.grid import Cell, Grid
from fewshot_km.grid.store import ResultStore


class Display(Protocol):
    """What is told to the user while cells run."""

    def cell_started(self, cell: Cell) -> None:
        """A cell begins."""

    def trained(self, cell: Cell, progress: Progress) -> None:
        """One iteration of meta-training is done."""

    def tested(self, cell: Cell, episodes: int) -> None:
        """So many more test episodes are done."""

    def cell_finished(self, cell: Cell, summary: Mapping[str, Any]) -> None:
        """A cell is stored; `summary` is the `results` part of its record."""

    def cell_failed(self, cell: Cell, reason: str) -> None:
        """A cell stopped without a result."""


def run_grid(
    grid: Grid, waiting: Sequence[Cell], store: ResultStore, data_root: Path, device: torch.device, display: Display
) -> list[Cell]:
    """Run the waiting cells of a grid and return those that failed.

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
    environment = describe_environment(device)  # now: a checkout may change while this process computes
    failed = []
    for cell in waiting:
        display.cell_started(cell)
        started = datetime.now(UTC)
        try:
            result = _run_cell(cell, datasets[str(cell.config.task.dataset)], device, display)
        except DivergenceError as error:
            failed.append(cell)
            store.write_failure(cell, str(error))
            display.cell_failed(cell, str(error))
        except (FewshotError, OSError):
            raise
        except Exception as error:  # whatever a learner raises must not cost the cells after it
            reason = describe_error(error)
            if "vmap" in reason:
                reason += '; set outer.execution = "loop" for a learner that cannot run under torch.func.vmap'
            failed.append(cell)
            store.write_failure(cell, reason, traceback.format_exc())
            display.cell_failed(cell, f"{reason} (the traceback is in {store.failure_file(cell)})")
        else:
            store.write(cell, _record(cell, datasets, result, environment, started), result.training, result.accuracies)
            display.cell_finished(cell, result.summary)
    return failed


def _run_cell(cell: Cell, dataset: Dataset, device: torch.device, display: Display) -> CellResult:
    return run_cell(
        cell.config,
        dataset,
        device,
        lambda progress: display.trained(cell, progress),
        lambda episodes: display.tested(cell, episodes),
    )


def _record(
    cell: Cell,
    datasets: Mapping[str, Dataset],
    result: CellResult,
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
        "environment": environment,
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
