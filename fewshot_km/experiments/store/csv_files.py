"""test_episodes.csv and history.csv: their lines, written and read."""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, fields
from math import isfinite

import numpy as np
import numpy.typing as npt

from fewshot_km.training.history import HistoryRow

EPISODES_HEADER = "episode,accuracy"
HISTORY_HEADER = ",".join(field.name for field in fields(HistoryRow))
LONGEST_LINE = 64  # bytes of test_episodes.csv: two numbers of at most 25 digits


def episodes_csv(accuracies: npt.NDArray[np.float64]) -> str:
    """Write a line for each test episode: its index and accuracy."""
    lines = (f"{episode},{accuracy}" for episode, accuracy in enumerate(accuracies.tolist()))
    return "".join(f"{line}\n" for line in (EPISODES_HEADER, *lines))


def read_episodes(text: str) -> npt.NDArray[np.float64]:
    """Read accuracies float64 [episodes] of episodes 0, 1, ...; raises ValueError for another text."""
    accuracies = []
    for episode, (index, *numbers) in enumerate(_rows(text, EPISODES_HEADER)):
        line = episode + 2
        if index != str(episode):
            raise ValueError(f"line {line} is not of episode {episode}")
        (accuracy,) = _numbers(line, numbers)
        if not 0 <= accuracy <= 1:
            raise ValueError(f"line {line}: the accuracy is not from 0 to 1")
        accuracies.append(accuracy)
    return np.array(accuracies)


def history_csv(rows: Sequence[HistoryRow]) -> str:
    """Write a line for each validation."""
    lines = (",".join(str(value) for value in astuple(row)) for row in rows)
    return "".join(f"{line}\n" for line in (HISTORY_HEADER, *lines))


def read_history(text: str) -> tuple[HistoryRow, ...]:
    """Read the rows that `history_csv` wrote; raises ValueError for another text."""
    history: list[HistoryRow] = []
    for line, values in enumerate(_rows(text, HISTORY_HEADER), start=2):
        iteration, *means = _numbers(line, values)
        row = HistoryRow(int(iteration), *means)
        if row.iteration != iteration or row.iteration <= (history[-1].iteration if history else 0):
            raise ValueError(f"line {line}: the iteration is no whole number above the one before")
        if not 0 <= row.val_accuracy <= 1:
            raise ValueError(f"line {line}: the validation accuracy is not from 0 to 1")
        history.append(row)
    return tuple(history)


def _rows(text: str, header: str) -> Iterator[list[str]]:
    """Yield the fields of every line but the header, which names as many; nothing that we write needs quotes."""
    first, *lines = text.splitlines() or [""]
    if first != header:
        raise ValueError(f"the first line is not '{header}'")
    count = header.count(",") + 1
    for line, row in enumerate(lines, start=2):
        fields_of_row = row.split(",", count)
        if len(fields_of_row) != count:
            raise ValueError(f"line {line} has not {count} fields")
        yield fields_of_row


def _numbers(line: int, fields_of_row: Sequence[str]) -> list[float]:
    try:
        numbers = [float(text) for text in fields_of_row]
    except ValueError:
        raise ValueError(f"line {line}: a field is no number") from None
    if not all(map(isfinite, numbers)):
        raise ValueError(f"line {line}: a number is not finite")
    return numbers
