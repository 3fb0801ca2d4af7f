"""The finished cells of a grid, read once: what every table, figure and page of a report is a function of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fewshot_km.errors import DataError
from fewshot_km.experiments.settings.cell_settings import CellConfig
from fewshot_km.experiments.settings.grid import Cell, Grid
from fewshot_km.experiments.store.probe_file import Analysis
from fewshot_km.experiments.store.result_store import ResultStore, say_finished_otherwise
from fewshot_km.experiments.store.stored_cell import StoredCell
from fewshot_km.reports.baseline_results import TestedEpisodes, read_baselines
from fewshot_km.reports.intervals import Array


@dataclass(frozen=True)
class Score:
    """What is known of one method on one task.

    accuracies [seeds, episodes] of the seeds that are done, on the same episodes for every method of the task
    cells      the cells of the grid, done or not; empty for a method of another code base
    stored     what was kept of those that are done, in the order of `seeds`
    failures   of cells that failed: seed and reason
    """

    task: str
    method: str
    accuracies: Array
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...] = ()
    stored: tuple[StoredCell, ...] = ()
    failures: tuple[tuple[int, str], ...] = ()

    @property
    def is_known(self) -> bool:
        """Whether there is any accuracy."""
        return len(self.accuracies) > 0

    @property
    def config(self) -> CellConfig | None:
        """Settings, which but for the seed are those of all its cells; None for a method of another code base."""
        return self.cells[0].config if self.cells else None

    @property
    def state(self) -> str:
        """In words where not every cell is done: "2 of 5 seeds", "failed", "to do"; else empty."""
        if len(self.seeds) == len(self.cells) or not self.cells:
            return ""
        if self.seeds:
            return f"{len(self.seeds)} of {len(self.cells)} seeds"
        return "failed" if self.failures else "to do"

    @property
    def open_accuracies(self) -> Array | None:
        """[seeds, episodes] on test episodes that share no image; None where not every seed has them."""
        analyses = [stored.analysis for stored in self.stored]
        if not analyses or any(analysis is None or len(analysis.open_accuracies) < 2 for analysis in analyses):
            return None
        return np.array([analysis.open_accuracies for analysis in analyses if analysis is not None])

    def fact(self, name: str) -> float | None:
        """The median over the seeds of a number in the records' results, such as adapted_parameters."""
        results: Sequence[Mapping[str, Any]] = [stored.record["results"] for stored in self.stored]
        found = [of_cell[name] for of_cell in results if name in of_cell]
        return float(np.median(found)) if found else None


@dataclass(frozen=True)
class GridResults:
    """All scores of a grid, by task and method, in the grid's order; methods of other code bases come last.

    `finished_otherwise` lists the cells without a score that are finished under other settings.
    """

    grid: Grid
    folder: Path
    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    scores: Mapping[tuple[str, str], Score]
    finished_otherwise: tuple[str, ...] = ()

    def of_task(self, task: str) -> list[Score]:
        """The scores of a task that are known."""
        return [score for method in self.methods if (score := self.scores[task, method]).is_known]

    def partial(self, task: str) -> str | None:
        """How much of the published data set was there, where it was not all."""
        found = (stored.record.get("dataset_partial") for score in self.of_task(task) for stored in score.stored)
        return next((text for text in found if text), None)

    def stored(self) -> list[StoredCell]:
        """All finished cells."""
        return [stored for score in self.scores.values() for stored in score.stored]


def read_results(grid: Grid, store: ResultStore, baselines: Sequence[Path] = ()) -> GridResults:
    """Read every finished cell of the grid, and the baseline results of other code bases from CSV files.

    Raises DataError if no cell is finished, a result is damaged, cells of one task used different data, or a baseline
    file does not fit the grid.
    """
    tasks = tuple(dict.fromkeys(cell.task for cell in grid.cells))
    learners = tuple(dict.fromkeys(cell.learner for cell in grid.cells))
    of: dict[tuple[str, str], list[Cell]] = {(task, learner): [] for task in tasks for learner in learners}
    for cell in grid.cells:
        of[cell.task, cell.learner].append(cell)
    scores = {key: _read_score(*key, cells, store) for key, cells in of.items()}
    otherwise = tuple(say_finished_otherwise(grid.cells, store))
    if not any(score.is_known for score in scores.values()):
        why = "; ".join(["run it first", *otherwise])
        raise DataError(f"grid '{grid.name}' has no finished cell under {store.folder}: {why}")
    for task in tasks:
        _check_same_data(task, [scores[task, learner] for learner in learners], store)
    tested = {task: _tested([scores[task, learner] for learner in learners]) for task in tasks}
    given = [Score(*found) for path in baselines for found in read_baselines(path, tested, learners)]
    outside = tuple(dict.fromkeys(score.method for score in given))
    missing = {(task, method): Score(task, method, np.empty((0, 0)), ()) for task in tasks for method in outside}
    found = {(score.task, score.method): score for score in given}
    if len(found) < len(given):
        raise DataError("the files of other code bases hold a method twice for one task: give each method one name")
    return GridResults(grid, store.folder, tasks, (*learners, *outside), scores | missing | found, otherwise)


def _tested(scores: Sequence[Score]) -> TestedEpisodes:
    """The digest of a task's test episodes, which a record has since there is one, and how many there are."""
    cells = [cell for score in scores for cell in score.cells]
    stored = [one for score in scores for one in score.stored]
    digests = {one.record["test_episodes_digest"] for one in stored if "test_episodes_digest" in one.record}
    return TestedEpisodes(next(iter(digests), None), cells[0].config.test.episodes)


def _read_score(task: str, method: str, cells: Sequence[Cell], store: ResultStore) -> Score:
    states = [store.state(cell) for cell in cells]
    done = [cell for cell, state in zip(cells, states, strict=True) if state == "done"]
    failed = [cell for cell, state in zip(cells, states, strict=True) if state == "failed"]
    stored = tuple(store.read(cell) for cell in done)
    return Score(
        task,
        method,
        np.stack([one.accuracies for one in stored]) if stored else np.empty((0, 0)),
        tuple(cell.seed for cell in done),
        tuple(cells),
        stored,
        tuple((cell.seed, store.failure(cell)) for cell in failed),
    )


def _check_same_data(task: str, scores: Sequence[Score], store: ResultStore) -> None:
    """What is paired must be of the same data and episodes, and all seeds of a method must have as many of them."""
    mend = f"; delete those of the old one under {store.folder / task} and run again"
    stored = [one for score in scores for one in score.stored]
    if len({one.record["dataset_digest"] for one in stored}) > 1:
        raise DataError(f"{task}: the stored cells used different versions of the data set{mend}")
    if len({digest for one in stored if (digest := one.record.get("test_episodes_digest"))}) > 1:
        raise DataError(f"{task}: the stored cells were tested on different episodes{mend}")
    for score in scores:
        analyses = [one.analysis for one in score.stored if one.analysis is not None]
        if len({len(one.open_accuracies) for one in analyses}) > 1 or len({_validated(one) for one in analyses}) > 1:
            raise DataError(
                f"{task}/{score.method}: the seeds' analysis.json are of different numbers of episodes; delete these "
                "files, then `fewshot-km evaluate` makes them anew"
            )


def _validated(analysis: Analysis) -> int:
    """Validation episodes behind its accuracies by inner steps."""
    return len(analysis.inner_steps[0].accuracies) if analysis.inner_steps else 0
