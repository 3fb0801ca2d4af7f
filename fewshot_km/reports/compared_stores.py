"""Two folders of results beside each other: what changed in the settings, and what that did, paired by episode."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fewshot_km.errors import DataError
from fewshot_km.experiments.settings.differences import differences
from fewshot_km.experiments.store.stored_cell import StoredCell, read_folder
from fewshot_km.reports.paired_tests import PairedComparison, compare_paired
from fewshot_km.reports.table import NOTHING, Entry, Table, TableSection, difference_text, p_text

ENVIRONMENT = ("fewshot_km", "git_commit", "device", "libraries")
"""What of a record's environment can change its numbers."""


@dataclass(frozen=True)
class ComparedRow:
    """One task and learner in two folders, second minus first.

    seeds       those that are done in both
    means       accuracy in the first and the second, over these seeds
    changes     settings and environment that differ, in words
    comparison  over the episodes, each averaged over these seeds; None where there are no pairs: `why` says why
    """

    task: str
    learner: str
    seeds: tuple[int, ...]
    means: tuple[float, float]
    changes: tuple[str, ...]
    comparison: PairedComparison | None
    why: str = ""


def compare_stores(first: Path, second: Path) -> list[ComparedRow]:
    """Compare every task and learner that either of two folders of a grid's results, results/<grid>, holds.

    Raises DataError where one of them holds no finished cell, or a damaged one, or no cell is finished in both.
    """
    cells = [_cells(folder) for folder in (first, second)]
    rows = []
    for task, learner in dict.fromkeys([*cells[0], *cells[1]]):
        of_first, of_second = (found.get((task, learner), {}) for found in cells)
        rows.append(_compare(task, learner, of_first, of_second))
    if not any(row.seeds for row in rows):
        raise DataError(
            f"{first} and {second}: no cell (task, learner, seed) is finished in both, so that there is nothing to "
            "compare; name two folders of results of one grid"
        )
    return rows


def _cells(folder: Path) -> dict[tuple[str, str], dict[int, StoredCell]]:
    found: dict[tuple[str, str], dict[int, StoredCell]] = {}
    for record in sorted(folder.glob("*/*/seed*/record.json")):
        seed = record.parent.name.removeprefix("seed")
        if re.fullmatch("[0-9]{1,19}", seed):  # not one of other settings that was set aside
            task, learner = record.parts[-4:-2]
            found.setdefault((task, learner), {})[int(seed)] = read_folder(record.parent)
    if not found:
        raise DataError(f"{folder}: no finished cell is in it; name a folder like results/quickstart")
    return found


def _compare(task: str, learner: str, first: Mapping[int, StoredCell], second: Mapping[int, StoredCell]) -> ComparedRow:
    seeds = tuple(sorted(set(first) & set(second)))
    if not seeds:
        means = (_mean(list(first.values())), _mean(list(second.values())))
        return ComparedRow(task, learner, (), means, (), None, "no seed is done in both")
    pairs = [(first[seed], second[seed]) for seed in seeds]
    before, after = zip(*pairs, strict=True)
    changes = tuple(dict.fromkeys(change for pair in pairs for change in _changes(*pair)))
    means = (_mean(before), _mean(after))
    if any(_episodes(old) != _episodes(new) for old, new in pairs):
        return ComparedRow(task, learner, seeds, means, changes, None, "tested on different episodes")
    accuracies = [np.mean([cell.accuracies for cell in side], axis=0) for side in (after, before)]
    return ComparedRow(task, learner, seeds, means, changes, compare_paired(*accuracies))


def _mean(cells: Sequence[StoredCell]) -> float:
    return float(np.mean([cell.accuracies.mean() for cell in cells])) if cells else float("nan")


def _episodes(cell: StoredCell) -> tuple[Any, ...]:
    """What decides which episodes a cell was tested on."""
    config = cell.record["config"]
    task = config["task"]
    return cell.record["dataset_digest"], task["ways"], task["shots"], task["test_queries"], config["test"]


def _changes(first: StoredCell, second: StoredCell) -> list[str]:
    settings = differences(first.record["config"], second.record["config"])
    before, after = ({name: cell.record["environment"].get(name) for name in ENVIRONMENT} for cell in (first, second))
    data = [] if first.record["dataset_digest"] == second.record["dataset_digest"] else ["other data"]
    return [*settings, *data, *differences(before, after)]


def compared_table(rows: list[ComparedRow], first: Path, second: Path) -> Table:
    """A row per task and learner: both means, their paired difference, and what changed."""
    entries = []
    for row in rows:
        found = row.comparison
        difference, p = row.why or NOTHING, NOTHING
        if found and found.difference.half_width is not None:
            difference = difference_text(found.difference)
            p = p_text(found.p_t)
        means = [NOTHING if np.isnan(mean) else f"{100 * mean:.2f}" for mean in row.means]
        changes = "; ".join(row.changes) or ("nothing" if row.seeds else NOTHING)
        values = (row.task, row.learner, *means, difference, p, ", ".join(map(str, row.seeds)) or NOTHING, changes)
        entries.append(tuple(map(Entry, values)))
    notes = (
        f"A: {first}, B: {second}. accuracy in percent, over the seeds that are done in both, if any.",
        "B − A: paired on the test episodes, each averaged over these seeds, with its 95 % t interval; compares "
        "trained models.",
        "p: paired t test, not corrected for the number of rows.",
    )
    header = ("task", "learner", "A", "B", "B − A", "p (t)", "seeds", "changed")
    return Table("Two folders of results", header, (TableSection("", tuple(entries)),), notes, words=2)
