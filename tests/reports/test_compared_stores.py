"""Two folders of results: what changed between them, and what it did."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from fewshot_km.errors import DataError
from fewshot_km.experiments.store.result_store import ResultStore
from fewshot_km.reports.compared_stores import compare_stores, compared_table
from tests.support.hostile_input import invoked
from tests.support.made_up_results import SMALL_GRID, small_grid, store_result

BEFORE = np.array([0.2, 0.4, 0.6, 0.4, 0.44])
AFTER = np.array([0.28, 0.44, 0.68, 0.6, 0.48])


def stored(folder: Path, grid: str, *results: np.ndarray, commit: str = "a" * 40, data: str = "d") -> Path:
    folder.mkdir()
    loaded = small_grid(folder, grid)
    store = ResultStore(folder, loaded.name)
    for cell, accuracies in zip(loaded.cells, results, strict=False):
        store_result(store, cell, accuracies, commit=commit, dataset_digest=data)
    return store.folder


def test_changes_and_their_paired_effect(tmp_path: Path) -> None:
    first = stored(tmp_path / "a", SMALL_GRID, BEFORE, BEFORE + 0.1)
    changed = SMALL_GRID.replace("lr = 0.4", "lr = 0.2")
    second = stored(tmp_path / "b", changed, AFTER, AFTER + 0.1, commit="b" * 40)
    (row,) = compare_stores(first, second)
    assert (row.task, row.learner, row.seeds) == ("glyphs-5w1s", "maml", (0, 1))
    assert row.changes == ("inner.lr 0.4 -> 0.2", f"git_commit {'a' * 40} -> {'b' * 40}")
    test = stats.ttest_rel(AFTER, BEFORE)
    assert row.comparison is not None
    assert row.comparison.difference.mean == pytest.approx((AFTER - BEFORE).mean())
    assert row.comparison.p_t == pytest.approx(float(test.pvalue))
    (entries,) = compared_table([row], first, second).rows
    half = 100 * (test.confidence_interval().high - (AFTER - BEFORE).mean())
    assert entries[4].text == f"+{100 * (AFTER - BEFORE).mean():.2f} ± {half:.2f}"


def test_the_same_results_differ_in_nothing(tmp_path: Path) -> None:
    folders = [stored(tmp_path / name, SMALL_GRID, BEFORE, BEFORE, AFTER, AFTER) for name in ("a", "b")]
    rows = compare_stores(*folders)
    assert [(row.learner, row.changes) for row in rows] == [("km-maml", ()), ("maml", ())]
    for row in rows:
        assert row.comparison is not None
        assert (row.comparison.difference.mean, row.comparison.p_t) == (0, 1)


def test_other_episodes_are_not_paired(tmp_path: Path) -> None:
    first = stored(tmp_path / "a", SMALL_GRID, BEFORE)
    others = (
        stored(tmp_path / "b", SMALL_GRID, AFTER, data="other"),
        stored(tmp_path / "c", SMALL_GRID.replace("episodes = 5", "episodes = 5\nstream = 1"), AFTER),
        stored(tmp_path / "d", SMALL_GRID.replace("shots = 1", "shots = 1\ntest_queries = 3"), AFTER),
    )
    for second in others:
        (row,) = compare_stores(first, second)
        assert (row.comparison, row.why) == (None, "tested on different episodes")
        assert row.changes


def test_what_only_one_has_is_shown(tmp_path: Path) -> None:
    first = stored(tmp_path / "a", SMALL_GRID, BEFORE)
    second = stored(tmp_path / "b", SMALL_GRID, BEFORE, BEFORE, AFTER)
    rows = compare_stores(first, second)
    assert [(row.learner, row.seeds, row.why) for row in rows] == [
        ("maml", (0,), ""),
        ("km-maml", (), "no seed is done in both"),
    ]
    assert [entry.text for entry in compared_table(rows, first, second).rows[1]][2:5] == [
        "–",
        f"{100 * AFTER.mean():.2f}",
        "no seed is done in both",
    ]


@pytest.mark.parametrize("has_the_method", [True, False])
def test_folders_with_nothing_in_common_are_refused(tmp_path: Path, has_the_method: bool) -> None:
    first = stored(tmp_path / "a", SMALL_GRID, BEFORE)
    old, new = ("seeds = [0, 1]", "seeds = [2]") if has_the_method else ("shots = 1", "shots = 2")
    other = SMALL_GRID.replace(old, new)
    second = stored(tmp_path / "b", other, BEFORE)
    result = invoked("compare", first, second)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        f"error: {first} and {second}: no cell (task, learner, seed) is finished in both, so that there is nothing to "
        "compare; name two folders of results of one grid"
    ]


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    first = stored(tmp_path / "a", SMALL_GRID, BEFORE)
    with pytest.raises(DataError, match=r"no finished cell is in it; name a folder like results/quickstart"):
        compare_stores(first, tmp_path / "gone")
