"""Baseline results: accuracies of other code bases on a grid's frozen test episodes, from a CSV file.

Columns, in any order, a line for each test episode:

method    what the row of the table is called
task      the grid's label of the task
episode   0, 1, ..., as in the file that `fewshot-km episodes dump` wrote
accuracy  share of the episode's query images that are right, 0 to 1
episodes  the digest in that file: proof that the episodes are the same
seed      optional: of the training, where several were trained
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewshot_km.data.storage import read_text_bounded
from fewshot_km.errors import DataError
from fewshot_km.reports.intervals import Array

NEEDED = ("method", "task", "episode", "accuracy", "episodes")
MOST_BYTES = 2**28  # three million lines: 600 episodes of ten methods on ten tasks with five seeds are a tenth of it
LONGEST_LINE = 1_000  # characters: names have at most 100, numbers 25
LARGEST_SEED = 2**53  # beyond, a number with decimals is no whole one any more


@dataclass(frozen=True)
class TestedEpisodes:
    """What a grid's own cells of a task were tested on; `digest` is None where no record says it."""

    __test__ = False  # pytest: not a test class

    digest: str | None
    count: int


def read_baselines(
    path: Path, tested: Mapping[str, TestedEpisodes], taken: Sequence[str]
) -> Iterator[tuple[str, str, Array, tuple[int, ...]]]:
    """Task, method, accuracies [seeds, episodes] and seeds of every method in the file.

    Raises DataError, with the line, for anything that does not fit the grid: another task, other episodes, a method
    named as one of the grid's, episodes that are missing or there twice, accuracies outside 0 to 1.
    """
    found: dict[tuple[str, str], dict[int, dict[int, float]]] = {}
    for line, row in _rows(path):
        where = f"{path}, line {line}"
        task, method = row["task"], row["method"]
        if task not in tested:
            raise DataError(f"{where}: unknown task '{task}'; the grid's tasks: {', '.join(tested)}")
        if method in taken or not method:
            raise DataError(f"{where}: method '{method}' needs a name that no learner of the grid has")
        _check_digest(where, row["episodes"], task, tested[task])
        episode = _number(where, "episode", row["episode"], tested[task].count - 1)
        accuracy = _number(where, "accuracy", row["accuracy"], 1)
        seed = _number(where, "seed", row.get("seed") or "0", LARGEST_SEED)
        if seed != int(seed):
            raise DataError(f"{where}: seed {row['seed']} of {method} must be a whole number")
        of_seed = found.setdefault((task, method), {}).setdefault(int(seed), {})
        if episode != int(episode) or int(episode) in of_seed:
            raise DataError(
                f"{where}: episode {row['episode']} of {method} must be a whole number, and stand only once"
            )
        of_seed[int(episode)] = accuracy
    if not found:
        raise DataError(f"{path}: there are no accuracies in it")
    for (task, method), seeds in found.items():
        for seed, accuracies in seeds.items():
            if len(accuracies) < tested[task].count:
                missing = next(n for n in range(tested[task].count) if n not in accuracies)
                raise DataError(
                    f"{path}: {method} on {task}, seed {seed}, has {len(accuracies)} of {tested[task].count} episodes; "
                    f"{missing} is missing"
                )
        ordered = sorted(seeds)
        values = np.array([[seeds[seed][n] for n in range(tested[task].count)] for seed in ordered])
        yield task, method, values, tuple(ordered)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    try:
        text = read_text_bounded(path, MOST_BYTES)
    except DataError as error:
        raise DataError(f"{error}; name a CSV file in UTF-8") from error
    reader = csv.DictReader(_lines(path, text), strict=True)
    try:
        absent = [name for name in NEEDED if name not in (reader.fieldnames or ())]
        if absent:
            raise DataError(f"{path}: no column {', '.join(absent)}; needed: {', '.join(NEEDED)}, and perhaps seed")
        for row in reader:
            if None in row or None in row.values():
                raise DataError(f"{path}, line {reader.line_num}: not as many fields as the first line names")
            yield reader.line_num, row
    except csv.Error as error:
        raise DataError(f"{path}: cannot be read as a CSV file in UTF-8: {error}") from error


def _lines(path: Path, text: str) -> Iterator[str]:
    """The lines with their ends, none of which is long."""
    for number, line in enumerate(io.StringIO(text, newline=""), start=1):
        if len(line) > LONGEST_LINE:
            raise DataError(f"{path}, line {number}: has more than {LONGEST_LINE} characters: no such table has")
        yield line


def _check_digest(where: str, digest: str, task: str, tested: TestedEpisodes) -> None:
    if tested.digest is None:
        raise DataError(
            f"the stored results of {task} do not say which episodes they were tested on, so that nothing can stand "
            "beside them: `fewshot-km evaluate` adds it"
        )
    if digest != tested.digest:
        raise DataError(
            f"{where}: episodes '{digest}' are not those of {task}, {tested.digest}: test on the ones that "
            "`fewshot-km episodes dump` writes"
        )


def _number(where: str, name: str, text: str, most: float) -> float:
    try:
        value = float(text) if text.isascii() and "_" not in text else float("nan")  # as other programs read a number
    except ValueError:
        value = float("nan")
    if not 0 <= value <= most:
        raise DataError(f"{where}: {name} '{text}' must be a number from 0 to {most}")
    return value
