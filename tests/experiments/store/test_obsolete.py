"""What `clean` finds: all that no cell goes on from, and nothing else."""

from pathlib import Path

import numpy as np
import pytest

from fewshot_km.experiments.settings.grid import load_grid
from fewshot_km.experiments.store.obsolete import find_obsolete, remove
from fewshot_km.experiments.store.result_store import ResultStore
from tests.support.made_up_results import SMALL_GRID, store_result, write_grid

ACCURACIES = np.array([0.1, 0.2, 0.3, 0.4, 0.5])


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path / "results", "small")


def test_only_what_no_cell_goes_on_from_is_left_over(tmp_path: Path, store: ResultStore) -> None:
    grid = load_grid(write_grid(tmp_path))
    edited = load_grid(write_grid(tmp_path, SMALL_GRID.replace("lr = 0.4", "lr = 0.3"), "edited"))
    first, second, third, _ = grid.cells
    store_result(store, edited.cells[0], ACCURACIES)  # set aside by the next line
    store_result(store, first, ACCURACIES)
    for cell in (first, second, edited.cells[1]):
        folder = store.unfinished(cell).folder
        folder.mkdir(parents=True)
        (folder / "checkpoint.safetensors").write_bytes(bytes(100))
    store.write_failure(third, "too bad")
    store.write_failure(edited.cells[3], "too bad")
    part = store.cell_folder(first).with_name(".seed0.abc.part")
    part.mkdir()
    aside = store.cell_folder(first).with_name(f"seed0.{edited.cells[0].config.digest()[:8]}")
    assert aside.is_dir()

    found = find_obsolete(grid, store, results=False)
    expected = {
        store.unfinished(first).folder,  # it is done
        store.unfinished(edited.cells[1]).folder,
        store.failure_file(edited.cells[3]),
        part,
    }
    assert {item.path for item in found} == expected
    assert sum(item.size for item in found) > 200
    with store.unfinished(edited.cells[1]).claim():  # another run, of the file before the edit, is at it
        assert store.unfinished(edited.cells[1]).folder not in {
            x.path for x in find_obsolete(grid, store, results=False)
        }
    with_results = find_obsolete(grid, store, results=True)
    assert {item.path for item in with_results} == expected | {aside}

    remove(with_results)
    assert find_obsolete(grid, store, results=True) == []
    assert [store.state(cell) for cell in grid.cells] == ["done", "to do", "failed", "to do"]
    assert store.unfinished(second).folder.is_dir()


def test_what_an_edit_set_aside_counts_once_the_edit_is_taken_back(tmp_path: Path, store: ResultStore) -> None:
    """The results of the present settings lie in the folder that was set aside; the other ones are older."""
    grid = load_grid(write_grid(tmp_path))
    edited = load_grid(write_grid(tmp_path, SMALL_GRID.replace("lr = 0.4", "lr = 0.3"), "edited"))
    store_result(store, grid.cells[0], ACCURACIES)
    store_result(store, edited.cells[0], ACCURACIES)
    assert store.state(grid.cells[0]) == "done"
    found = find_obsolete(grid, store, results=True)
    assert [item.path for item in found] == [store.cell_folder(grid.cells[0])]
    remove(found)
    assert store.state(grid.cells[0]) == "done"
    assert store.state(edited.cells[0]) == "to do"
    assert find_obsolete(grid, store, results=True) == []
