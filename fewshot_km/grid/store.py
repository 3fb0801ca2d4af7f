"""Cells on disk: results/<grid>/<task>/<learner>/seed<k>/ for a finished one, a folder that is whole or not there.

record.json          settings, their digest, data set digest, environment, times, summary
history.csv          meta-training: loss, accuracy and validation accuracy over the iterations
test_episodes.csv    one line per test episode: its index and accuracy
weights.safetensors  the meta-parameters that validated best
analysis.json        what else the trained learner was asked (see analysis.py)

Beside it, seed<k>.failed.json says why a cell failed, seed<k>.unfinished-<digest>/ is what a cell goes on from (see
unfinished.py), and seed<k>.<digest>/ are results of other settings.
"""

import csv
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from fewshot_km.datasets.storage import describe_os_error, write_text
from fewshot_km.engine import HistoryRow, MetaTraining
from fewshot_km.errors import ConfigError, DataError
from fewshot_km.grid.analysis import Analysis
from fewshot_km.grid.grid import Cell
from fewshot_km.grid.unfinished import UnfinishedCell, history_csv, read_history
from fewshot_km.learners import Params

ANALYSIS = "analysis.json"

State = Literal["done", "failed", "to do"]


@dataclass(frozen=True)
class StoredCell:
    """What a report needs of a finished cell: record, accuracy of every test episode, analysis if any, history."""

    record: Mapping[str, Any]
    accuracies: npt.NDArray[np.float64]
    analysis: Analysis | None = None  # cells that were finished before there was one
    history: tuple[HistoryRow, ...] = ()  # none where history.csv is gone: tables need none


class ResultStore:
    """The results of one grid under `root`/<grid name>."""

    def __init__(self, root: Path, grid: str) -> None:
        self.folder = root / grid

    def task_folder(self, cell: Cell) -> Path:
        """Where the results of all cells of a cell's task are kept."""
        return self.folder / cell.task

    def cell_folder(self, cell: Cell) -> Path:
        """Where the results of a cell are kept."""
        return self.task_folder(cell) / cell.learner / f"seed{cell.seed}"

    def prepare(self) -> None:
        """Make the folder; raises ConfigError where nothing can be written there, before hours are spent on results."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            why = describe_os_error(error, self.folder)
            raise ConfigError(f"results cannot be kept in {self.folder}: {why}; --results names another") from error

    def unfinished(self, cell: Cell) -> UnfinishedCell:
        """Where a cell of the present settings keeps what it goes on from."""
        folder = self.cell_folder(cell)
        return UnfinishedCell(folder.with_name(f"{folder.name}.unfinished-{cell.config.digest()[:8]}"))

    def settings_before(self, cell: Cell) -> Mapping[str, Any] | None:
        """The settings of the results in the cell's folder, if any are there."""
        try:
            record = json.loads((self.cell_folder(cell) / "record.json").read_text(encoding="utf-8"))
            return dict(record["config"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def state(self, cell: Cell) -> State:
        """done or failed with the cell's present settings, else to do."""
        if self._find(cell) is not None:
            return "done"
        if _digest_in(self.failure_file(cell)) == cell.config.digest():
            return "failed"
        return "to do"

    def write(
        self,
        cell: Cell,
        record: Mapping[str, Any],
        training: MetaTraining,
        accuracies: npt.NDArray[np.float64],
        analysis: Analysis | None = None,
    ) -> None:
        """Store a finished cell in one move; results of other settings are kept beside it, under their digest."""
        final = self.cell_folder(cell)
        final.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".part", dir=final.parent))
        try:
            part.chmod(0o755)
            episodes = pd.DataFrame({"episode": range(len(accuracies)), "accuracy": accuracies})
            episodes.to_csv(part / "test_episodes.csv", index=False, lineterminator="\n")
            write_text(part / "history.csv", history_csv(training.history))
            weights = save({k: v.contiguous() for k, v in training.meta.items()})
            (part / "weights.safetensors").write_bytes(weights)
            if analysis is not None:
                write_text(part / ANALYSIS, analysis.to_json())
            write_text(part / "record.json", _to_json(record))
            if final.exists():
                final.rename(self._aside(final))
            part.rename(final)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        self.failure_file(cell).unlink(missing_ok=True)

    def amend(self, cell: Cell, record: Mapping[str, Any], analysis: Analysis) -> None:
        """Give a finished cell an analysis, and a record that knows of it, which is written last."""
        folder = self._folder(cell)
        write_text(folder / ANALYSIS, analysis.to_json())
        write_text(folder / "record.json", _to_json(record))

    def weights(self, cell: Cell) -> Params:
        """The meta-parameters of a finished cell; raises DataError where they are gone or damaged."""
        path = self._folder(cell) / "weights.safetensors"
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            what = "is gone" if isinstance(error, FileNotFoundError) else f"is damaged ({error})"
            raise DataError(
                f"{path} {what}: put back the one that was written with it, or delete {path.parent} and run the cell"
            ) from error

    def write_failure(self, cell: Cell, reason: str, traceback: str = "") -> None:
        """Note that a cell failed, why, and at which iteration its state was kept; earlier results stay as they are."""
        unfinished = self.unfinished(cell)
        kept = unfinished.look()
        failure = {
            "config_digest": cell.config.digest(),
            "reason": reason,
            "kept_iteration": kept and kept.iteration,
            "kept_in": unfinished.folder.name,
            "traceback": traceback,
        }
        write_text(self.failure_file(cell), _to_json(failure))

    def failure(self, cell: Cell) -> str:
        """Why a failed cell failed."""
        return str(json.loads(self.failure_file(cell).read_text(encoding="utf-8"))["reason"])

    def read(self, cell: Cell) -> StoredCell:
        """A finished cell; raises DataError where its files are damaged."""
        return read_folder(self._folder(cell))

    def failure_file(self, cell: Cell) -> Path:
        """Where it is noted that a cell failed."""
        folder = self.cell_folder(cell)
        return folder.with_name(f"{folder.name}.failed.json")

    def _folder(self, cell: Cell) -> Path:
        return self._find(cell) or self.cell_folder(cell)

    def _find(self, cell: Cell) -> Path | None:
        """The folder with the cell's present settings: its own, or one that was set aside for other settings since."""
        folder, digest = self.cell_folder(cell), cell.config.digest()
        places = [folder, *sorted(folder.parent.glob(f"{folder.name}.{digest[:8]}*"))]
        return next((place for place in places if _digest_in(place / "record.json") == digest), None)

    def _aside(self, folder: Path) -> Path:
        digest = (_digest_in(folder / "record.json") or "damaged")[:8]
        aside, n = folder.with_name(f"{folder.name}.{digest}"), 1
        while aside.exists():
            n += 1
            aside = folder.with_name(f"{folder.name}.{digest}-{n}")
        return aside


def read_folder(folder: Path) -> StoredCell:
    """What is stored in the folder of a finished cell; raises DataError where its files are damaged."""
    try:
        record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        with (folder / "test_episodes.csv").open(encoding="utf-8", newline="") as file:
            rows = csv.reader(file)  # not DictReader, which takes four times as long
            place = next(rows, []).index("accuracy")
            accuracies = np.array([float(row[place]) for row in rows])
        course = folder / "history.csv"
        history = read_history(course) if course.exists() else ()
        whole = len(accuracies) == record["results"]["test_episodes"] and bool(np.isfinite(accuracies).all())
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DataError(f"{folder}: damaged result ({error}); delete the folder and run again") from error
    if not whole:
        raise DataError(f"{folder}: test_episodes.csv is not whole; delete the folder and run again")
    return StoredCell(record, accuracies, _read_analysis(folder / ANALYSIS), history)


def _read_analysis(path: Path) -> Analysis | None:
    try:
        return Analysis.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise DataError(
            f"{path}: damaged ({why}); delete the file, then `fewshot-km evaluate` makes it anew"
        ) from error


def _digest_in(path: Path) -> str | None:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["config_digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _to_json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
