"""The folder of a finished cell: nothing in it is believed unread, and what is not as written is named in one line."""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fewshot_km.errors import DataError
from fewshot_km.experiments.settings.grid import Cell
from fewshot_km.experiments.store import result_store as store
from fewshot_km.experiments.store.probe_file import Analysis
from fewshot_km.experiments.store.result_store import ResultStore
from fewshot_km.reports.report import make_report
from tests.support.made_up_results import small_grid, store_result, without_digests

ACCURACIES = np.array([0.2, 0.4, 0.6, 0.4, 0.44])
ANALYSIS = Analysis(3, (0.5, 0.7, 0.9), (), ((0, 1),), ())
LISTS = ("test_episodes.csv", "history.csv", "analysis.json")


@pytest.fixture
def cells(tmp_path: Path) -> tuple[ResultStore, Cell, Cell]:
    """Two finished cells that differ in everything."""
    first, second, *_ = small_grid(tmp_path).cells
    results = ResultStore(tmp_path / "results", "small")
    store_result(results, first, ACCURACIES, analysis=ANALYSIS)
    other = Analysis(2, (0.1, 0.3), (), ((1, 1),), ())
    store_result(results, second, ACCURACIES[::-1], analysis=other, val_accuracies={2: 0.1})
    weights = results.cell_folder(second) / "weights.safetensors"
    record = results.cell_folder(second) / "record.json"
    changed = weights.read_bytes()[:-1] + b"\x40"  # another number: still a file of weights
    before, after = (hashlib.sha256(content).hexdigest() for content in (weights.read_bytes(), changed))
    weights.write_bytes(changed)
    record.write_text(record.read_text().replace(before, after))
    return results, first, second


def one_line(read: Callable[[], object], path: Path) -> str:
    with pytest.raises(DataError) as error:
        read()
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(str(path)), message
    assert "put back" in message or "delete" in message
    return message


def test_a_record_holds_the_digests_of_the_files_as_they_were_written(cells: tuple[ResultStore, Cell, Cell]) -> None:
    results, first, _ = cells
    folder = results.cell_folder(first)
    known = json.loads((folder / "record.json").read_text())["files"]
    assert known == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != "record.json"
    }


@pytest.mark.parametrize("name", [*LISTS, "weights.safetensors"])
@pytest.mark.parametrize("how", ["cut", "swapped", "edited"])
def test_a_file_that_is_not_as_it_was_written_is_named(
    cells: tuple[ResultStore, Cell, Cell], name: str, how: str
) -> None:
    results, first, second = cells
    path = results.cell_folder(first) / name
    content, other = path.read_bytes(), (results.cell_folder(second) / name).read_bytes()
    edited = content.translate(bytes.maketrans(b"47w", b"36v"))
    changed = {"cut": content[:-1], "swapped": other, "edited": edited}[how]
    assert changed != content
    path.write_bytes(changed)
    if name in LISTS:
        read: Callable[[], object] = lambda: results.read(first)  # noqa: E731
    else:
        assert results.read(first).accuracies.tolist() == ACCURACIES.tolist()  # no report needs the weights
        read = lambda: results.weights(first)  # noqa: E731
    assert "is not as it was written (cut, swapped or edited)" in one_line(read, path)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("0,55.0\n1,0.4\n2,0.6\n3,0.4\n4,0.44\n", "line 2: the accuracy is not from 0 to 1"),
        ("0,0.2\n1,-0.4\n2,0.6\n3,0.4\n4,0.44\n", "line 3: the accuracy is not from 0 to 1"),
        ("0,0.2\n1,nan\n2,0.6\n3,0.4\n4,0.44\n", "line 3: a number is not finite"),
        ("0,0.2\n1,x\n2,0.6\n3,0.4\n4,0.44\n", "line 3: a field is no number"),
        ("1,0.4\n0,0.2\n2,0.6\n3,0.4\n4,0.44\n", "line 2 is not of episode 0"),  # paired wrongly, with the same mean
        ("0,0.2\n1,0.4\n1,0.6\n3,0.4\n4,0.44\n", "line 4 is not of episode 2"),
        ("0,0.2\n1,0.4\n2,0.6\n3,0.4\n", "it holds 4 episodes, but results.test_episodes is 5"),
        ("0,0.2\n1,0.4\n2,0.6\n3,0.4\n4,0.44\n5,0.4\n", "it holds 6 episodes"),
        ("0,0.24\n1,0.4\n2,0.6\n3,0.4\n4,0.44\n", "its mean is 0.416000, but results.test_accuracy is 0.408000"),
        ("0,0.2,1\n1,0.4,1\n2,0.6\n3,0.4\n4,0.44\n", "line 2"),
        ("", "it holds 0 episodes"),
    ],
)
def test_accuracies_are_not_believed_where_no_digest_tells(
    cells: tuple[ResultStore, Cell, Cell], content: str, why: str
) -> None:
    results, first, _ = cells
    folder = results.cell_folder(first)
    without_digests(folder)
    (folder / "test_episodes.csv").write_text(f"episode,accuracy\n{content}")
    assert why in one_line(lambda: results.read(first), folder / "test_episodes.csv")


@pytest.mark.parametrize(
    "content",
    [
        "iteration,train_loss\n2,0.1\n",
        "iteration,train_loss,train_accuracy,val_accuracy,seconds\n2,1.0,0.4,1.5,0.1\n",
        "iteration,train_loss,train_accuracy,val_accuracy,seconds\n2,1.0,0.4,0.5,0.1\n2,1.0,0.4,0.5,0.1\n",
        "iteration,train_loss,train_accuracy,val_accuracy,seconds\n2.5,1.0,0.4,0.5,0.1\n",
        "iteration,train_loss,train_accuracy,val_accuracy,seconds\n1e400,1.0,0.4,0.5,0.1\n",
        "\0",
    ],
)
def test_a_history_is_not_believed_where_no_digest_tells(cells: tuple[ResultStore, Cell, Cell], content: str) -> None:
    results, first, _ = cells
    folder = results.cell_folder(first)
    without_digests(folder)
    (folder / "history.csv").write_text(content)
    assert "damaged" in one_line(lambda: results.read(first), folder / "history.csv")


@pytest.mark.parametrize("name", [*LISTS, "weights.safetensors", "record.json"])
@pytest.mark.parametrize("what", ["pipe", "folder", "device", "huge"])
def test_what_is_no_file_of_its_kind_is_named_without_waiting(
    cells: tuple[ResultStore, Cell, Cell], name: str, what: str
) -> None:
    results, first, _ = cells
    path = results.cell_folder(first) / name
    path.unlink()
    if what == "pipe":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    elif what == "device":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(2**33)  # takes no room
    if name == "record.json":
        assert results.state(first) == "to do"
    elif name == "weights.safetensors":
        if what != "huge":  # it would be read through: it may be as large as a network
            one_line(lambda: results.weights(first), path)
    else:
        one_line(lambda: results.read(first), path)


def test_results_of_earlier_versions_are_read_and_it_is_said_what_is_not_known(tmp_path: Path) -> None:
    grid = small_grid(tmp_path)
    results = ResultStore(tmp_path / "results", "small")
    for cell in grid.cells:
        store_result(results, cell, ACCURACIES)
    unknown = "Not known of {} of 4 finished cells: whether their files are still as they were written"
    assert not any("Not known" in note for note in make_report(grid, results).tables()[0].notes)
    for count, cell in enumerate(grid.cells, start=1):
        without_digests(results.cell_folder(cell))
        assert any(unknown.format(count) in note for note in make_report(grid, results).tables()[0].notes)


def test_a_later_analysis_keeps_the_digests_right(cells: tuple[ResultStore, Cell, Cell]) -> None:
    results, first, _ = cells
    before = results.read(first).record
    later = Analysis(4, (0.5, 0.7, 0.9, 0.9), (), ((0, 1),), ())
    results.amend(first, {**before, "test_episodes_digest": "e"}, {"analysis.json": later.to_json().encode()})
    stored = results.read(first)
    assert (stored.analysis, stored.record["test_episodes_digest"]) == (later, "e")
    content = (results.cell_folder(first) / "analysis.json").read_bytes()
    assert stored.record["files"] == {**before["files"], "analysis.json": hashlib.sha256(content).hexdigest()}
    assert results.weights(first).keys() == {"w"}


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("knows_digests", [True, False])
def test_a_later_analysis_that_is_cut_short_can_be_made_again(
    cells: tuple[ResultStore, Cell, Cell], monkeypatch: pytest.MonkeyPatch, step: int, knows_digests: bool
) -> None:
    """At each of its writes: what is left is a cell without an analysis."""
    results, first, _ = cells
    if not knows_digests:
        without_digests(results.cell_folder(first))
    later = Analysis(4, (0.5, 0.7, 0.9, 0.9), (), ((0, 1),), ())
    with monkeypatch.context() as patch:

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(store, ("write_text", "write_bytes")[step - 1], killed)
        with pytest.raises(KeyboardInterrupt):
            results.amend(first, results.read(first).record, {"analysis.json": later.to_json().encode()})
    assert results.read(first).analysis is None
    results.amend(first, results.read(first).record, {"analysis.json": later.to_json().encode()})
    assert results.read(first).analysis == later
