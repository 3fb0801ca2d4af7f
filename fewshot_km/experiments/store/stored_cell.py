"""Read the folder of a finished cell: every file is checked, and what is not as it was written is named."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError

from fewshot_km.data.storage import read_bytes_bounded
from fewshot_km.errors import DataError
from fewshot_km.experiments.store.csv_files import LONGEST_LINE, read_episodes, read_history
from fewshot_km.experiments.store.probe_file import Analysis
from fewshot_km.experiments.store.record import RECORD, Record, read_record
from fewshot_km.training.history import HistoryRow

if TYPE_CHECKING:
    from fewshot_km.learners import Params

Name = Literal["test_episodes.csv", "history.csv", "weights.safetensors", "analysis.json"]
EPISODES, HISTORY, WEIGHTS, ANALYSIS = get_args(Name)

MOST_BYTES = 2**28  # of lists: ten million episodes or validations, a hundred times what anyone has waited for
SAME_MEAN = 1e-9  # another order of summation changes less, another answer to one query more


@dataclass(frozen=True)
class StoredCell:
    """What a report needs of a finished cell: record, accuracy of every test episode, analysis if any, history."""

    record: Record
    accuracies: npt.NDArray[np.float64]
    analysis: Analysis | None = None  # cells that were finished before there was one
    history: tuple[HistoryRow, ...] = ()  # none where history.csv is gone: tables need none

    @property
    def has_digests(self) -> bool:
        """Whether the record knows the digest of the accuracies, so that these are known to be as they were written."""
        return EPISODES in self.record.get("files", {})


def read_folder(folder: Path) -> StoredCell:
    """Read the folder of a finished cell; raises DataError with file, mistake and mend.

    The weights are not read. What a record of an earlier version has no digest of is checked as far as that goes.
    """
    record = read_record(folder / RECORD)
    return StoredCell(record, _accuracies(folder, record), _analysis(folder, record), _history(folder, record))


def read_weights(folder: Path) -> "Params":
    """Read the meta-parameters of a finished cell; raises DataError where they are gone, or not the cell's."""
    from safetensors.torch import load_file  # torch, which what is left here does without

    path, known = folder / WEIGHTS, read_record(folder / RECORD).get("files", {}).get(WEIGHTS)
    mend = f"put back the one that was written with it, or delete {folder} and run the cell"
    try:
        if not path.is_file():
            raise DataError(f"{path} is gone: {mend}")
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if known not in (None, found):
            raise DataError(f"{path} is not as it was written (cut, swapped or edited): {mend}")
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} is damaged ({error}): {mend}") from error


def _accuracies(folder: Path, record: Record) -> npt.NDArray[np.float64]:
    path = folder / EPISODES
    mend = f"put back the file that was written, or delete {folder} and run again"
    count, mean = record["results"]["test_episodes"], record["results"]["test_accuracy"]
    try:
        text = _text(path, record, EPISODES, min(LONGEST_LINE * (count + 1), MOST_BYTES), mend)
        accuracies = read_episodes(text)
        if len(accuracies) != count:
            raise ValueError(f"it holds {len(accuracies)} episodes, but results.test_episodes is {count}")
        if abs(float(accuracies.mean()) - mean) > SAME_MEAN:
            raise ValueError(f"its mean is {accuracies.mean():.6f}, but results.test_accuracy is {mean:.6f}")
    except ValueError as error:
        raise DataError(f"{path}: {error}; {mend}") from error
    return accuracies


def _history(folder: Path, record: Record) -> tuple[HistoryRow, ...]:
    path = folder / HISTORY
    mend = "put back the file that was written, or delete it: only learning curves need it"
    if not path.exists():
        return ()
    try:
        return read_history(_text(path, record, HISTORY, MOST_BYTES, mend))
    except ValueError as error:
        raise DataError(f"{path}: damaged ({error}); {mend}") from error


def _analysis(folder: Path, record: Record) -> Analysis | None:
    path, mend = folder / ANALYSIS, "delete the file, then `fewshot-km evaluate` makes it anew"
    if not path.exists():
        return None
    try:
        return Analysis.from_json(_text(path, record, ANALYSIS, MOST_BYTES, mend))
    except ValueError as error:
        raise DataError(f"{path}: damaged ({str(error).splitlines()[0]}); {mend}") from error


def _text(path: Path, record: Record, name: Name, most_bytes: int, mend: str) -> str:
    """The file's text, which must have the record's digest, if that has one."""
    try:
        content = read_bytes_bounded(path, most_bytes)
    except DataError as error:
        raise DataError(f"{error}; {mend}") from error
    if record.get("files", {}).get(name) not in (None, hashlib.sha256(content).hexdigest()):
        raise DataError(f"{path}: is not as it was written (cut, swapped or edited): {mend}")
    return content.decode("utf-8-sig")  # raises ValueError
