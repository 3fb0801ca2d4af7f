"""Cells on disk: results/<grid>/<task>/<learner>/seed<k>/ for a finished one, a folder that is whole or not there.

record.json          settings, their digest, data set digest, environment, times, summary, digests of the files below
history.csv          meta-training: loss, accuracy and validation accuracy over the iterations
test_episodes.csv    one line per test episode: its index and accuracy
weights.safetensors  the meta-parameters that validated best
analysis.json        what else the trained learner was asked (see probe_file.py)

Beside it, seed<k>.failed.json says why a cell failed, seed<k>.unfinished-<digest>/ is what a cell goes on from (see
unfinished.py), and seed<k>.<digest>/ are results of other settings.
"""

import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fewshot_km.data.storage import describe_os_error, write_bytes, write_text
from fewshot_km.errors import ConfigError, DataError
from fewshot_km.experiments.settings.differences import other_settings
from fewshot_km.experiments.settings.grid import Cell
from fewshot_km.experiments.store.record import RECORD, config_digest_in, read_failure, read_record
from fewshot_km.experiments.store.stored_cell import StoredCell, read_folder, read_weights
from fewshot_km.experiments.store.unfinished import UnfinishedCell
from fewshot_km.text import counted

if TYPE_CHECKING:
    from fewshot_km.learners import Params

State = Literal["done", "failed", "to do"]


class ResultStore:
    """The results of one grid under `root`/<grid name>."""

    def __init__(self, root: Path, grid: str) -> None:
        self.folder = root / grid

    def task_folder(self, cell: Cell) -> Path:
        """Folder of the results of a cell's task."""
        return self.folder / cell.task

    def cell_folder(self, cell: Cell) -> Path:
        """Folder of a cell's results."""
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
        """Folder of what a cell with its present settings goes on from."""
        folder = self.cell_folder(cell)
        return UnfinishedCell(folder.with_name(f"{folder.name}.unfinished-{cell.config.digest()[:8]}"))

    def settings_before(self, cell: Cell) -> Mapping[str, Any] | None:
        """The settings of the results in the cell's folder, if any are there."""
        try:
            return read_record(self.cell_folder(cell) / RECORD)["config"]
        except DataError:
            return None

    def state(self, cell: Cell) -> State:
        """done or failed with the cell's present settings, else to do."""
        if self.finished_folder(cell) is not None:
            return "done"
        if config_digest_in(self.failure_file(cell)) == cell.config.digest():
            return "failed"
        return "to do"

    def write(
        self,
        cell: Cell,
        record: Mapping[str, Any],
        files: Mapping[str, bytes],
    ) -> None:
        """Store a finished cell in one move; results of other settings are kept beside it, under their digest."""
        final = self.cell_folder(cell)
        final.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".part", dir=final.parent))
        try:
            part.chmod(0o755)
            for name, content in files.items():
                write_bytes(part / name, content)
            digests = {name: _sha256(content) for name, content in files.items()}
            write_text(part / RECORD, _to_json({**record, "files": digests}))
            if final.exists():
                final.rename(self._aside(final))
            part.rename(final)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        self.failure_file(cell).unlink(missing_ok=True)

    def amend(self, cell: Cell, record: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        """Give a finished cell more files, and a record that knows of them.

        Killed between two of these steps, the cell lacks a file, as it did before.
        """
        folder = self._folder(cell)
        digests = {**record.get("files", {}), **{name: _sha256(content) for name, content in files.items()}}
        for name in files:
            (folder / name).unlink(missing_ok=True)
        write_text(folder / RECORD, _to_json({**record, "files": digests}))
        for name, content in files.items():
            write_bytes(folder / name, content)

    def weights(self, cell: Cell) -> "Params":
        """The meta-parameters of a finished cell; raises DataError where they are gone, or not as they were written."""
        return read_weights(self._folder(cell))

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
        return read_failure(self.failure_file(cell))["reason"]

    def read(self, cell: Cell) -> StoredCell:
        """Read a finished cell; raises DataError where its files are damaged."""
        return read_folder(self._folder(cell))

    def failure_file(self, cell: Cell) -> Path:
        """File that says why a cell failed."""
        folder = self.cell_folder(cell)
        return folder.with_name(f"{folder.name}.failed.json")

    def _folder(self, cell: Cell) -> Path:
        return self.finished_folder(cell) or self.cell_folder(cell)

    def finished_folder(self, cell: Cell) -> Path | None:
        """The folder with a finished cell's present settings: its own, or one set aside for other settings since."""
        folder, digest = self.cell_folder(cell), cell.config.digest()
        places = [folder, *sorted(folder.parent.glob(f"{folder.name}.{digest[:8]}*"))]
        return next((place for place in places if config_digest_in(place / RECORD) == digest), None)

    def _aside(self, folder: Path) -> Path:
        digest = (config_digest_in(folder / RECORD) or "damaged")[:8]
        aside, n = folder.with_name(f"{folder.name}.{digest}"), 1
        while aside.exists():
            n += 1
            aside = folder.with_name(f"{folder.name}.{digest}-{n}")
        return aside


def say_finished_otherwise(cells: Iterable[Cell], store: ResultStore) -> list[str]:
    """Say "4 cells are finished with other settings: outer.iterations 16", a line for each set of settings.

    A grid of such cells looks empty, and is not.
    """
    found: Counter[str] = Counter()
    for cell in cells:
        before = None if store.state(cell) == "done" else store.settings_before(cell)
        if before is not None:
            found[", ".join(other_settings(before, cell.config.model_dump(mode="json")))] += 1
    return [
        f"{counted(number, 'cell')} {'is' if number == 1 else 'are'} finished with other settings: {settings}"
        for settings, number in found.items()
    ]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _to_json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
