"""The tables of a grid from results whose means, intervals and tests are known."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fewshot_km.errors import DataError
from fewshot_km.experiments.settings.grid import Grid
from fewshot_km.experiments.store.probe_file import Analysis
from fewshot_km.experiments.store.result_store import ResultStore
from fewshot_km.reports.markup import to_markdown
from fewshot_km.reports.page import report_page
from fewshot_km.reports.report import Report, make_report
from fewshot_km.reports.table import Table
from tests.support.made_up_results import SMALL_GRID, small_grid, store_result

SAME = np.array([0.2, 0.4, 0.6, 0.4, 0.4])


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    return small_grid(tmp_path)


@pytest.fixture
def store(tmp_path: Path, grid: Grid) -> ResultStore:
    return ResultStore(tmp_path / "results", grid.name)


def texts(table: Table) -> list[dict[str, str]]:
    return [dict(zip(table.header, (entry.text for entry in row), strict=True)) for row in table.rows]


def numbers(report: Report) -> pd.DataFrame:
    return pd.read_csv(io.StringIO(report.csv())).set_index("learner")


def analysis(*open_accuracies: float) -> Analysis:
    return Analysis(len(open_accuracies), open_accuracies, (), (), ())


def test_means_and_intervals_of_every_kind(grid: Grid, store: ResultStore) -> None:
    maml0, maml1, km0, _ = grid.cells
    store_result(store, maml0, np.array([0.2, 0.4, 0.6, 0.4, 0.4]), adapted=1234567, analysis=analysis(0.2, 0.6))
    store_result(store, maml1, np.array([0.4, 0.6, 0.8, 0.6, 0.6]), adapted=1234567, analysis=analysis(0.6, 0.6))
    store_result(store, km0, np.array([0.2, 0.5, 0.5, 0.5, 0.8]))
    report = make_report(grid, store)

    rows = numbers(report)
    assert rows.index.tolist() == ["maml", "km-maml"]
    assert rows["accuracy_percent"].tolist() == pytest.approx([50, 50])
    # maml: episode means 0.3 0.5 0.7 0.5 0.5, squares 0.08, s = sqrt(0.08/4), t(4) = 2.77645
    half = 277.645 * (0.08 / 4 / 5) ** 0.5
    assert rows.loc["maml", ["ci95_low_episodes", "ci95_high_episodes"]].tolist() == pytest.approx(
        [50 - half, 50 + half], rel=1e-5
    )
    # km-maml, one seed of two: squares 0.18
    half = 277.645 * (0.18 / 4 / 5) ** 0.5
    assert rows.loc["km-maml", "ci95_high_episodes"] == pytest.approx(50 + half, rel=1e-5)
    assert rows.loc["km-maml", ["ci95_low_seeds", "ci95_low_hierarchical", "ci95_low_open"]].isna().all()
    # maml, over seeds: means 0.4 and 0.6, t(1) = 12.7062: 50 +- 127 would leave the scale, the logit does not
    assert rows.loc["maml", "method_seeds"] == "logit"
    # open: episode means 0.4 and 0.6 in the same way
    assert rows.loc["maml", "ci95_low_open"] == pytest.approx(rows.loc["maml", "ci95_low_seeds"])
    assert rows.loc["maml", ["n_episodes", "n_open", "n_seeds", "n_hierarchical"]].tolist() == [5, 2, 2, "2 x 5"]
    assert rows["seeds_done"].tolist() == [2, 1]
    assert rows["adapted_parameters"].tolist() == [1234567, 7]

    headline, intervals, costs = report.tables()
    first, second = texts(headline)
    assert first["glyphs-5w1s"] == f"50.00 ± {277.645 * (0.08 / 4 / 5) ** 0.5:.2f}"
    assert second["glyphs-5w1s"] == f"50.00 ± {half:.2f} (1 of 2 seeds)"
    assert [row["± open (n)"] for row in texts(intervals)][1] == "–"
    assert [(row["seeds"], row["adapted parameters"]) for row in texts(costs)] == [("2", "1,234,567"), ("1 of 2", "7")]
    said = " ".join(note for table in report.tables() for note in table.notes)
    for words in ("95 % t interval over n = 5 test episodes", "transductive", "Not finished", "logit scale"):
        assert words in said


def test_the_kind_behind_the_sign_is_the_one_asked_for(tmp_path: Path) -> None:
    grid = small_grid(tmp_path, SMALL_GRID.replace("seeds = [0, 1]", "seeds = [0, 1, 2, 3, 4]"))
    store = ResultStore(tmp_path / "results", grid.name)
    for cell in grid.cells:
        store_result(store, cell, SAME + 0.01 * cell.seed)
    # seed means 0.40 ... 0.44: s = 0.01 sqrt(2.5), t(4) = 2.77645; by default, since there are five
    over_seeds = f"42.00 ± {277.645 * 0.01 * (2.5 / 5) ** 0.5:.2f}"
    over_episodes = f"42.00 ± {277.645 * (0.08 / 4 / 5) ** 0.5:.2f}"
    for kind, expected in ((None, over_seeds), ("seeds", over_seeds), ("episodes", over_episodes)):
        headline = make_report(grid, store, kind=kind).tables()[0]  # type: ignore[arg-type]
        assert [row["glyphs-5w1s"] for row in texts(headline)] == [expected, expected]
    assert "over n = 5 independently meta-trained seeds" in " ".join(make_report(grid, store).tables()[0].notes)


def test_bold_is_what_is_not_significantly_worse_than_the_best(tmp_path: Path) -> None:
    text = SMALL_GRID.replace('"maml", ', '"maml", "anil", ').replace("episodes = 5", "episodes = 40")
    grid = small_grid(tmp_path, text)
    store = ResultStore(tmp_path / "results", grid.name)
    noise = np.random.default_rng(0).normal(0, 0.01, (3, 40))
    for cell in grid.cells:
        shift = {"maml": 0.0, "anil": 0.0001, "km-maml": -0.05}[cell.learner]
        store_result(store, cell, 0.7 + shift + noise[["maml", "anil", "km-maml"].index(cell.learner)])
    headline = make_report(grid, store).tables()[0]
    assert [(row[0].text, row[1].is_bold) for row in headline.rows] == [
        ("maml", True),
        ("anil", True),
        ("km-maml", False),
    ]
    assert "**" in to_markdown([headline])


@pytest.mark.parametrize(("norm", "warns"), [("batch", True), ("group", False)])
def test_batch_norm_warns_of_images_that_come_one_at_a_time(tmp_path: Path, norm: str, warns: bool) -> None:
    """In the notes of the accuracies, which all that is printed, written or shown has, and beside the norm."""
    grid = small_grid(tmp_path, SMALL_GRID.replace("filters = 8", f'filters = 8\nnorm = "{norm}"'))
    store = ResultStore(tmp_path / "results", grid.name)
    for cell in grid.cells:
        store_result(store, cell, SAME)
    report = make_report(grid, store)
    headline, _, costs = report.tables()
    assert [any("chance" in note for note in table.notes) for table in (headline, costs)] == [warns, warns]
    assert any("one image at a time" in note and "group" in note for note in headline.notes) == warns
    assert ("94 to 95 %" in to_markdown(report.tables())) == ("94 to 95 %" in report_page(report)) == warns


def test_cells_without_a_result_stay_visible(grid: Grid, store: ResultStore) -> None:
    store_result(store, grid.cells[0], SAME)
    store_result(store, grid.cells[1], SAME)
    report = make_report(grid, store)
    assert texts(report.tables()[0])[1] == {"accuracy %": "km-maml", "glyphs-5w1s": "to do"}
    assert numbers(report).loc["km-maml", "state"] == "to do"
    store.write_failure(grid.cells[2], "the loss became nan")
    report = make_report(grid, store)
    assert texts(report.tables()[0])[1]["glyphs-5w1s"] == "failed"
    assert "glyphs-5w1s/km-maml/seed0 failed: the loss became nan." in report.tables()[0].notes
    store_result(store, grid.cells[3], SAME)
    assert texts(make_report(grid, store).tables()[0])[1]["glyphs-5w1s"].endswith(" (1 of 2 seeds)")


def test_a_part_of_a_data_set_is_said_in_every_row_and_file(grid: Grid, store: ResultStore) -> None:
    for cell in grid.cells:
        store_result(store, cell, SAME, partial="25 of 100 classes, 9 of 600 images")
    report = make_report(grid, store)
    said = "partial: 25 of 100 classes, 9 of 600 images"
    assert numbers(report)["data"].tolist() == [said, said]
    headline, _, costs = report.tables()
    assert headline.header == ("accuracy %", "glyphs-5w1s (partial)")
    assert [row["data"] for row in texts(costs)] == [said, said]
    assert any(note.startswith("partial data: ") and "25 of 100 classes" in note for note in headline.notes)


def test_a_whole_data_set_needs_no_column(grid: Grid, store: ResultStore) -> None:
    for cell in grid.cells:
        store_result(store, cell, SAME)
    report = make_report(grid, store)
    assert "partial" not in to_markdown(report.tables())
    assert numbers(report)["data"].tolist() == ["complete", "complete"]


def test_tables_regenerate_byte_for_byte(grid: Grid, store: ResultStore) -> None:
    for cell in grid.cells:
        store_result(store, cell, np.random.default_rng(cell.seed).random(5))
    first, second = (make_report(grid, ResultStore(store.folder.parent, grid.name)) for _ in range(2))
    assert to_markdown(first.tables()) == to_markdown(second.tables())
    assert first.csv() == second.csv()


def test_nothing_done_and_mixed_data_are_refused(grid: Grid, store: ResultStore) -> None:
    with pytest.raises(DataError, match=r"grid 'small' has no finished cell under .*: run it first"):
        make_report(grid, store)
    store_result(store, grid.cells[0], np.ones(5), dataset_digest="one")
    store_result(store, grid.cells[1], np.ones(5), dataset_digest="other")
    with pytest.raises(DataError, match="different versions of the data set"):
        make_report(grid, store)


def test_cells_of_different_code_are_told_apart(grid: Grid, store: ResultStore) -> None:
    store_result(store, grid.cells[0], np.ones(5), commit="a" * 40)
    store_result(store, grid.cells[1], np.ones(5), commit="b" * 40 + "+changes")
    notes = make_report(grid, store).tables()[0].notes
    assert "Cells differ in code (git commit): aaaaaaaaaaaa, bbbbbbbbbbbb with changes." in notes
    assert not any("Cells differ in torch" in note for note in notes)
