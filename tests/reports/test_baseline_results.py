"""Accuracies of other code bases: they stand beside ours, in tables and tests, where the episodes are the same."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from scipy import stats

from fewshot_km.errors import DataError
from fewshot_km.experiments.settings.grid import Grid
from fewshot_km.experiments.store.result_store import ResultStore
from fewshot_km.reports.figures.accuracies import draw_accuracies
from fewshot_km.reports.report import make_report
from tests.support.hostile_input import LONG, VALUES, check_end, invoked, mistaken_bytes
from tests.support.made_up_results import SMALL_GRID, small_grid, store_result

DIGEST = "0123456789abcdef"
OURS = np.array([0.2, 0.4, 0.6, 0.4, 0.44])
THEIRS = np.array([0.28, 0.44, 0.68, 0.6, 0.48])


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    return small_grid(tmp_path)


@pytest.fixture
def store(tmp_path: Path, grid: Grid) -> ResultStore:
    store = ResultStore(tmp_path / "results", grid.name)
    for cell in grid.cells:
        store_result(store, cell, OURS + 0.04 * cell.seed, episodes=DIGEST)
    return store


def frame(**columns: object) -> pd.DataFrame:
    usual = {
        "method": "protonet",
        "task": "glyphs-5w1s",
        "episode": range(5),
        "accuracy": THEIRS,
        "episodes": DIGEST,
    }
    return pd.DataFrame(usual | columns)


def written(folder: Path, rows: pd.DataFrame) -> Path:
    path = folder / "baselines.csv"
    rows.to_csv(path, index=False)
    return path


def test_they_stand_in_the_table_and_in_paired_tests(grid: Grid, store: ResultStore, tmp_path: Path) -> None:
    shuffled = frame().sample(frac=1, random_state=0)
    report = make_report(grid, store, [written(tmp_path, shuffled)])
    last = report.tables()[0].rows[-1]
    assert (last[0].text, last[1].text.split(" ")[0]) == ("protonet", f"{100 * THEIRS.mean():.2f}")
    found = report.contrasts.between("glyphs-5w1s", "protonet", "maml")
    assert found is not None
    assert found.compares == "trained models"
    assert found.deciding.p_t == pytest.approx(float(stats.ttest_rel(THEIRS, OURS + 0.02).pvalue))
    csv = report.frame().set_index("learner").loc["protonet"]
    assert csv["accuracy_percent"] == pytest.approx(100 * THEIRS.mean())
    assert pd.isna(csv["adapted_parameters"])


@pytest.mark.parametrize("seeds", [1, 5])
def test_they_do_not_change_what_stands_behind_the_sign_of_ours(tmp_path: Path, seeds: int) -> None:
    grid = small_grid(tmp_path, SMALL_GRID.replace("seeds = [0, 1]", "seeds = [0, 1, 2, 3, 4]"))
    store = ResultStore(tmp_path / "results", grid.name)
    for cell in grid.cells:
        store_result(store, cell, OURS + 0.04 * cell.seed + 0.1 * (cell.learner == "km-maml"), episodes=DIGEST)
    rows = pd.concat([frame(seed=seed, accuracy=THEIRS + 0.01 * seed) for seed in range(seeds)])
    alone, beside = make_report(grid, store), make_report(grid, store, [written(tmp_path, rows)])
    ours, with_theirs = alone.tables()[0], beside.tables()[0]
    assert [[entry.text for entry in row] for row in with_theirs.rows[:2]] == [
        [entry.text for entry in row] for row in ours.rows
    ]
    assert (alone.kind, beside.kind) == ("seeds", "seeds")
    theirs = f"{100 * rows['accuracy'].mean():.2f}"
    note = "None for protonet: a single seed has no spread."
    captions = [draw_accuracies(beside).caption, with_theirs.notes[1]]
    if seeds == 1:
        assert with_theirs.rows[2][1].text == theirs
        assert all(note in text for text in captions)
    else:
        assert with_theirs.rows[2][1].text.startswith(f"{theirs} ±")
        assert not any(note in text for text in captions)


def test_their_seeds_are_kept_apart(grid: Grid, store: ResultStore, tmp_path: Path) -> None:
    two = pd.concat([frame(seed=3), frame(seed=7, accuracy=THEIRS + 0.2)])
    report = make_report(grid, store, [written(tmp_path, two)])
    assert report.results.scores["glyphs-5w1s", "protonet"].seeds == (3, 7)
    assert report.results.scores["glyphs-5w1s", "protonet"].accuracies.mean(1) == pytest.approx(
        [THEIRS.mean(), THEIRS.mean() + 0.2]
    )


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (frame(episodes="ffff"), r"line 2: episodes 'ffff' are not those of glyphs-5w1s, 0123456789abcdef"),
        (frame(task="omniglot-5w1s"), r"line 2: unknown task 'omniglot-5w1s'; the grid's tasks: glyphs-5w1s"),
        (frame(method="maml"), r"line 2: method 'maml' needs a name that no learner of the grid has"),
        (frame(accuracy=[0.2, 93.5, 0.4, 0.4, 0.4]), r"line 3: accuracy '93.5' must be a number from 0 to 1"),
        (frame(accuracy=["0.2", "nan", "0.4", "x", "0.4"]), r"line 3: accuracy 'nan' must be a number"),
        (frame(accuracy=["0.2", "0.4", "0.4", "٠.٤", "0_1"]), r"line 5: accuracy '٠.٤' must be a number"),
        (frame(seed=[0, 0, 0.5, 0, 0]), r"line 4: seed 0.5 of protonet must be a whole number"),
        (frame(method="p" * 2_000), r"line 2: has more than 1000 characters"),
        (frame(episode=[0, 1, 2, 3, 3]), r"line 6: episode 3 of protonet must be a whole number, and stand only once"),
        (frame(episode=[0, 1, 2, 3, 5]), r"line 6: episode '5' must be a number from 0 to 4"),
        (frame(episode=[0, 1.5, 2, 3, 4]), r"line 3: episode 1.5 of protonet must be a whole number"),
        (frame().iloc[[0, 1, 3, 4]], r"protonet on glyphs-5w1s, seed 0, has 4 of 5 episodes; 2 is missing"),
        (frame().iloc[:0], r"there are no accuracies in it"),
        (frame().drop(columns=["accuracy", "task"]), r"no column task, accuracy; needed: method, task, episode"),
    ],
)
def test_what_does_not_fit_is_refused(
    grid: Grid, store: ResultStore, tmp_path: Path, rows: pd.DataFrame, said: str
) -> None:
    with pytest.raises(DataError, match=said):
        make_report(grid, store, [written(tmp_path, rows)])


def test_a_file_that_is_no_table_is_refused(grid: Grid, store: ResultStore, tmp_path: Path) -> None:
    path = tmp_path / "baselines.csv"
    for content in (b"\xff\xfe\x00", b"method,task,episode,accuracy,episodes\na,b\n", b'a,"b\n'):
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"baselines.csv"):
            make_report(grid, store, [path])
    pipe, large = tmp_path / "pipe", tmp_path / "large.csv"
    os.mkfifo(pipe)
    with large.open("wb") as file:
        file.truncate(2**33)  # takes no room
    for wrong in (pipe, large, tmp_path, Path("/dev/zero"), tmp_path / "gone.csv"):
        with pytest.raises(DataError) as error:
            make_report(grid, store, [wrong])
        assert str(error.value).startswith(f"{wrong}: ")
        assert str(error.value).endswith("; name a CSV file in UTF-8")


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=some.data())
def test_the_report_ends_well_on_any_table(
    grid: Grid, store: ResultStore, tmp_path: Path, data: some.DataObject
) -> None:
    path = written(tmp_path, frame(seed=1))
    cell = some.sampled_from([*map(repr, VALUES), LONG, "'", "0.5", "4", "maml", DIGEST, "=1+1", "-1", "1e400"])
    if data.draw(some.booleans()):
        path.write_bytes(data.draw(mistaken_bytes(path.read_bytes())))
    else:
        rows = frame(seed=1).astype(object)
        rows.iat[data.draw(some.integers(0, 4)), data.draw(some.integers(0, 5))] = data.draw(cell)
        rows = (
            rows.rename(columns={data.draw(some.sampled_from(list(rows))): data.draw(cell)})
            if data.draw(some.booleans())
            else rows
        )
        path.write_bytes(rows.to_csv(index=False).encode("utf-8", "surrogatepass"))
    for arguments in ((), ("--pairwise",), ("--format=csv",)):
        results = f"--results={store.folder.parent}"
        check_end(invoked("report", tmp_path / "small.toml", results, f"--baselines={path}", *arguments))


def test_results_that_do_not_say_their_episodes_take_none_beside_them(tmp_path: Path, grid: Grid) -> None:
    store = ResultStore(tmp_path / "older", grid.name)
    store_result(store, grid.cells[0], OURS)
    with pytest.raises(DataError, match="`fewshot-km evaluate` adds it"):
        make_report(grid, store, [written(tmp_path, frame())])


def test_one_method_from_two_files_is_refused(grid: Grid, store: ResultStore, tmp_path: Path) -> None:
    path = written(tmp_path, frame())
    with pytest.raises(DataError, match="hold a method twice"):
        make_report(grid, store, [path, path])
