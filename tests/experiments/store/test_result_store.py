"""Results on disk: whole or not there, read back bit for bit, never overwritten by other settings."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fewshot_km.experiments.settings.grid import Grid
from fewshot_km.experiments.store.result_store import ResultStore
from tests.support.made_up_results import SMALL_GRID, small_grid, store_result

ACCURACIES = np.array([0.1, 1 / 3, 2 / 3, 0.7000000000000001, 1.0])


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    return small_grid(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> ResultStore:
    return ResultStore(tmp_path / "results", "small")


def test_results_come_back_bit_for_bit(grid: Grid, store: ResultStore) -> None:
    cell = grid.cells[0]
    assert store.state(cell) == "to do"
    store_result(store, cell, ACCURACIES)
    assert store.state(cell) == "done"
    assert store.read(cell).accuracies.tobytes() == ACCURACIES.tobytes()
    assert torch.equal(load_file(store.cell_folder(cell) / "weights.safetensors")["w"], torch.ones(2))
    assert store.cell_folder(cell) == store.folder / "glyphs-5w1s" / "maml" / "seed0"
    assert sorted(p.name for p in store.cell_folder(cell).iterdir()) == [
        "history.csv",
        "record.json",
        "test_episodes.csv",
        "weights.safetensors",
    ]


def test_other_settings_are_another_cell_and_older_results_are_kept_aside(
    tmp_path: Path, grid: Grid, store: ResultStore
) -> None:
    old, new = grid.cells[0], small_grid(tmp_path, SMALL_GRID.replace("lr = 0.4", "lr = 0.3")).cells[0]
    store_result(store, old, ACCURACIES)
    assert store.state(new) == "to do"
    store_result(store, new, ACCURACIES / 2)
    assert store.state(new) == "done"
    aside = store.cell_folder(new).with_name(f"seed0.{old.config.digest()[:8]}")
    assert json.loads((aside / "record.json").read_text())["config_digest"] == old.config.digest()
    assert store.state(old) == "done"  # an edit that is taken back costs nothing
    assert store.read(old).accuracies.tobytes() == ACCURACIES.tobytes()
    assert store.read(new).accuracies.tobytes() == (ACCURACIES / 2).tobytes()


def test_nothing_is_ever_overwritten(grid: Grid, store: ResultStore) -> None:
    cell = grid.cells[0]
    for n in range(3):
        store_result(store, cell, ACCURACIES / (n + 1))
    folder = store.cell_folder(cell)
    digest = cell.config.digest()[:8]
    assert sorted(p.name for p in folder.parent.iterdir()) == ["seed0", f"seed0.{digest}", f"seed0.{digest}-2"]
    assert store.read(cell).accuracies.tobytes() == (ACCURACIES / 3).tobytes()


def test_a_write_that_fails_leaves_nothing(grid: Grid, store: ResultStore) -> None:
    cell = grid.cells[0]

    with pytest.raises(TypeError, match="not JSON serializable"):
        store.write(cell, {"bad": object()}, {"history.csv": b""})
    assert store.state(cell) == "to do"
    assert list(store.cell_folder(cell).parent.iterdir()) == []


def test_failures_are_noted_and_forgotten_with_success(grid: Grid, store: ResultStore) -> None:
    cell = grid.cells[0]
    store.write_failure(cell, "the loss became nan")
    assert store.state(cell) == "failed"
    assert store.failure(cell) == "the loss became nan"
    store_result(store, cell, ACCURACIES)
    assert store.state(cell) == "done"
    assert [p.name for p in store.cell_folder(cell).parent.iterdir()] == ["seed0"]


def test_the_history_comes_back_bit_for_bit(grid: Grid, store: ResultStore) -> None:
    cell = grid.cells[0]
    store_result(store, cell, ACCURACIES, val_accuracies={2: 0.1, 4: 1 / 3})
    assert [(row.iteration, row.val_accuracy) for row in store.read(cell).history] == [(2, 0.1), (4, 1 / 3)]
    (store.cell_folder(cell) / "history.csv").unlink()
    assert store.read(cell).history == ()


def test_a_digest_that_is_none_does_not_become_a_folder(grid: Grid, store: ResultStore) -> None:
    """Results of other settings are set aside under their digest, which is a foreign text."""
    cell = grid.cells[0]
    store_result(store, cell, ACCURACIES)
    record = store.cell_folder(cell) / "record.json"
    record.write_text(record.read_text().replace(cell.config.digest(), "../../../elsewhere"))
    store_result(store, cell, ACCURACIES)
    assert sorted(p.name for p in store.cell_folder(cell).parent.iterdir()) == ["seed0", "seed0.damaged"]


def test_a_damaged_record_counts_as_not_done(grid: Grid, store: ResultStore) -> None:
    cell = grid.cells[0]
    store_result(store, cell, ACCURACIES)
    (store.cell_folder(cell) / "record.json").write_text("{")
    assert store.state(cell) == "to do"
