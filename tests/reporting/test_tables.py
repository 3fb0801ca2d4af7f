"""The table of a grid from results whose means and intervals are known."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fewshot_km.errors import DataError
from fewshot_km.grid import Grid, ResultStore
from fewshot_km.reporting.tables import results_table, to_csv, to_markdown
from tests.grid.made_up import small_grid, store_result


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    return small_grid(tmp_path)


@pytest.fixture
def store(tmp_path: Path, grid: Grid) -> ResultStore:
    return ResultStore(tmp_path / "results", grid.name)


def test_means_and_intervals_stand_in_csv_and_markdown(grid: Grid, store: ResultStore) -> None:
    maml0, maml1, km0, _ = grid.cells
    store_result(store, maml0, np.array([0.2, 0.4, 0.6, 0.4, 0.4]), adapted=1234567)
    store_result(store, maml1, np.array([0.4, 0.6, 1.0, 0.6, 0.4]), adapted=1234567)
    store_result(store, km0, np.array([0.0, 0.5, 0.5, 0.5, 1.0]))
    table = results_table(grid, store)

    rows = pd.read_csv(io.StringIO(to_csv(table)))
    assert rows["learner"].tolist() == ["maml", "km-maml"]
    assert rows["accuracy_percent"].tolist() == pytest.approx([50, 50])
    # maml: episode means 0.3 0.5 0.8 0.5 0.4, s = sqrt(0.14/4); seed means 0.4 and 0.6; t(4) = 2.77645, t(1) = 12.7062
    assert rows["ci95_half_width_over_episodes"][0] == pytest.approx(277.645 * (0.14 / 4 / 5) ** 0.5, rel=1e-5)
    assert rows["ci95_half_width_over_seeds"][0] == pytest.approx(1270.62 * 0.1, rel=1e-5)
    # km-maml: one seed of two
    assert rows["ci95_half_width_over_episodes"][1] == pytest.approx(277.645 * (0.5 / 4 / 5) ** 0.5, rel=1e-5)
    assert np.isnan(rows["ci95_half_width_over_seeds"][1])
    assert rows["seeds_done"].tolist() == [2, 1]
    assert rows["adapted_parameters"].tolist() == [1234567, 7]

    text = to_markdown(table)
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    header, maml, km = lines[0], lines[2], lines[3]
    assert dict(zip(header, maml, strict=True))["accuracy %"] == "50.00"
    assert dict(zip(header, maml, strict=True))["± seeds"] == "127.06"
    assert dict(zip(header, maml, strict=True))["adapted parameters"] == "1,234,567"
    assert dict(zip(header, km, strict=True))["± seeds"] == "–"
    assert dict(zip(header, km, strict=True))["seeds"] == "1 of 2"
    for said in (
        "95 % t interval over n = 5 test episodes",
        "n = 1 or 2 independently",
        "transductive",
        "Not finished",
    ):
        assert said in text


def test_cells_without_a_result_stay_visible(grid: Grid, store: ResultStore) -> None:
    store_result(store, grid.cells[0], np.array([0.2, 0.4, 0.6, 0.4, 0.4]))
    text = to_markdown(results_table(grid, store))
    (row,) = [line.split("|") for line in text.splitlines() if "km-maml" in line]
    assert [cell.strip() for cell in row[3:8]] == ["–", "–", "–", "0 of 2", "–"]


def test_a_part_of_a_data_set_is_said_in_every_row_and_file(grid: Grid, store: ResultStore) -> None:
    for cell in grid.cells:
        store_result(store, cell, np.array([0.2, 0.4, 0.6, 0.4, 0.4]), partial="25 of 100 classes, 9 of 600 images")
    table = results_table(grid, store)
    said = "partial: 25 of 100 classes, 9 of 600 images"
    assert pd.read_csv(io.StringIO(to_csv(table)))["data"].tolist() == [said, said]
    lines = to_markdown(table).splitlines()
    rows = [line for line in lines if line.startswith("| glyphs")]
    assert len(rows) == 2
    assert all(said in row for row in rows)
    assert any(line.startswith("- partial: ") for line in lines)


def test_a_whole_data_set_needs_no_column(grid: Grid, store: ResultStore) -> None:
    for cell in grid.cells:
        store_result(store, cell, np.array([0.2, 0.4, 0.6, 0.4, 0.4]))
    table = results_table(grid, store)
    assert "partial" not in to_markdown(table)
    assert pd.read_csv(io.StringIO(to_csv(table)))["data"].tolist() == ["complete", "complete"]


def test_tables_regenerate_byte_for_byte(grid: Grid, store: ResultStore) -> None:
    for cell in grid.cells:
        store_result(store, cell, np.random.default_rng(cell.seed).random(5))
    again = ResultStore(store.folder.parent, grid.name)
    assert to_markdown(results_table(grid, store)) == to_markdown(results_table(grid, again))
    assert to_csv(results_table(grid, store)) == to_csv(results_table(grid, again))


def test_nothing_done_and_mixed_data_are_refused(grid: Grid, store: ResultStore) -> None:
    with pytest.raises(DataError, match=r"grid 'small' has no finished cell under .*: run it first"):
        results_table(grid, store)
    store_result(store, grid.cells[0], np.ones(5), dataset_digest="one")
    store_result(store, grid.cells[1], np.ones(5), dataset_digest="other")
    with pytest.raises(DataError, match="different versions of the data set"):
        results_table(grid, store)


def test_cells_of_different_code_are_told_apart(grid: Grid, store: ResultStore) -> None:
    store_result(store, grid.cells[0], np.ones(5), commit="a" * 40)
    store_result(store, grid.cells[1], np.ones(5), commit="b" * 40 + "+changes")
    text = to_markdown(results_table(grid, store))
    assert "Cells differ in code (git commit): aaaaaaaaaaaa, bbbbbbbbbbbb with changes." in text
    assert "Cells differ in torch" not in text
