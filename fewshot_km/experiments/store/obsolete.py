"""Find and delete what belongs to no cell of a grid any more."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from fewshot_km.experiments.settings.grid import Grid
from fewshot_km.experiments.store.result_store import ResultStore
from fewshot_km.experiments.store.unfinished import UnfinishedCell


@dataclass(frozen=True)
class Obsolete:
    """A file or folder, what it is, and its size in bytes."""

    path: Path
    what: str
    size: int


def find_obsolete(grid: Grid, store: ResultStore, *, results: bool) -> list[Obsolete]:
    """Unfinished cells, failures and parts of files that no cell of the grid goes on from; nothing that is in use.

    With `results`, finished cells of other settings or that the grid does not have (any more), too.
    """
    mine = {store.finished_folder(cell) for cell in grid.cells}
    unfinished = {store.unfinished(cell).folder for cell in grid.cells if store.state(cell) != "done"}
    failures = {store.failure_file(cell) for cell in grid.cells if store.state(cell) == "failed"}
    found = []
    for path in sorted(store.folder.rglob("*")) if store.folder.is_dir() else []:
        relative = path.relative_to(store.folder)
        if path.name.endswith(".part"):
            if not any(_is_claimed(folder) for folder in _unfinished_beside(path)):
                found.append((path, "part of a file that was being written"))
        elif len(relative.parts) != 3 or not path.name.startswith("seed"):
            continue
        elif ".unfinished-" in path.name:
            if path not in unfinished and not _is_claimed(path):
                found.append((path, "unfinished, of other settings or a cell that is done"))
        elif path.name.endswith(".failed.json"):
            if path not in failures:
                found.append((path, "failure of other settings"))
        elif results and path.is_dir() and path not in mine:
            found.append((path, "results of other settings, or of a cell that the grid does not have"))
    return [Obsolete(path, what, _size(path)) for path, what in found]


def remove(obsolete: list[Obsolete]) -> None:
    """Delete them; raises OSError where that is not allowed."""
    for item in obsolete:
        if item.path.is_dir():
            shutil.rmtree(item.path)
        else:
            item.path.unlink(missing_ok=True)


def _unfinished_beside(path: Path) -> list[Path]:
    folders = [path.parent, *path.parent.glob("*.unfinished-*")]
    return [folder for folder in folders if ".unfinished-" in folder.name]


def _is_claimed(folder: Path) -> bool:
    return UnfinishedCell(folder).is_claimed()


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
