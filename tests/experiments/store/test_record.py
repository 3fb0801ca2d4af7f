"""record.json and failures: what must stand in them, and that every reader ends well on whatever does."""

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from fewshot_km.errors import DataError, FewshotError
from fewshot_km.experiments.runners.run_plan import make_run_plan
from fewshot_km.experiments.settings.grid import Grid
from fewshot_km.experiments.settings.run_settings import RunOptions
from fewshot_km.experiments.store.probe_file import Analysis, LayerKernels, StepAccuracies
from fewshot_km.experiments.store.record import Results, read_failure, read_record
from fewshot_km.experiments.store.result_store import ResultStore
from tests.support.hostile_input import DEEP, LONG, check_end, invoked, mistaken_bytes, mistaken_json, places
from tests.support.made_up_results import small_grid, store_result

ACCURACIES = np.array([0.2, 0.4, 0.6, 0.4, 0.44])
ANALYSIS = Analysis(
    3,
    (0.5, 0.7, 0.9),
    (StepAccuracies(0, 0.2, (0.1, 0.3)), StepAccuracies(3, 0.5, (0.4, 0.6))),
    ((0, 1), (1, 1)),
    (LayerKernels("blocks.0", (1, 2), ((0.5, 0.25),), ((0.5, 0.5),)),),
)


class Folder:
    """Four finished cells, one of which becomes another thing again and again, beside what they were."""

    def __init__(self, root: Path) -> None:
        self.root, self.grid = root, small_grid(root)
        self.store, self.kept = ResultStore(root / "results", "small"), ResultStore(root / "kept", "small")
        for store in (self.store, self.kept):
            for cell in self.grid.cells:
                store_result(store, cell, ACCURACIES, episodes="e", analysis=ANALYSIS)
        self.cell = self.store.cell_folder(self.grid.cells[0])
        self.original = {path.name: path.read_bytes() for path in self.cell.iterdir()}

    def restore(self) -> None:
        """As it was."""
        for name, content in self.original.items():
            (self.cell / name).write_bytes(content)

    def commands(self) -> list[tuple[object, ...]]:
        """All that reads records and needs no data; `run` does by `make_run_plan`."""
        grid, results = self.root / "small.toml", f"--results={self.store.folder.parent}"
        report = ("report", grid, results)
        return [
            ("list", grid, results),
            report,
            (*report, "--format=csv"),
            (*report, "--pairwise"),
            (*report, "--check-claims"),
            ("compare", self.store.folder, self.kept.folder),
            ("compare", self.kept.folder, self.store.folder),
            ("clean", grid, results, "--older-results"),
        ]

    def make_run_plan(self) -> None:
        """As `run` does before anything else."""
        with suppress(FewshotError):
            make_run_plan(str(self.root / "small.toml"), RunOptions(results=self.store.folder.parent))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return Folder(tmp_path_factory.mktemp("records"))


@pytest.fixture
def whole(folder: Folder) -> Iterator[Folder]:
    yield folder
    folder.restore()


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    return small_grid(tmp_path)


def needed(record: Any) -> list[tuple[str, ...]]:
    """The places of a record that readers rely on."""
    optional = {"dataset_partial", "test_episodes_digest", "files", *Results.__optional_keys__}
    inside = ("config", "results", "environment", "task", "test", "libraries")
    return [
        place
        for place in places(record)[1:]
        if not optional & set(place)
        and all(key in inside for key in place[:-1])
        and (place[0] != "config" or place in CONFIG)
    ]


CONFIG = [
    ("config",),
    *[("config", *place) for place in (("task",), ("test",), ("test", "episodes"))],
    *[("config", "task", name) for name in ("ways", "shots", "test_queries")],
]


def test_every_field_that_is_missing_or_of_another_type_is_named(whole: Folder) -> None:
    path = whole.cell / "record.json"
    content = path.read_text()
    for place in needed(json.loads(content)):
        for value in (None, [], 7.5, "7"):
            record = json.loads(content)
            inside = record
            for key in place[:-1]:
                inside = inside[key]
            if value is None:
                del inside[place[-1]]
            elif type(value) is type(inside[place[-1]]) or place[-1] == "git_commit":
                continue
            else:
                inside[place[-1]] = value
            path.write_text(json.dumps(record))
            with pytest.raises(DataError) as error:
                read_record(path)
            message = str(error.value)
            assert message.startswith(f"{path}: {'.'.join(place)}: "), (place, message)
            assert message.endswith(f"; put back the file that was written, or delete {path.parent} and run again")
            assert "\n" not in message


@pytest.mark.parametrize("text", [DEEP, LONG, "[" * 500 + "]" * 500, '{"a": ' * 500, "", "null", "{}", "\ufeff[]"])
def test_a_text_that_is_no_record_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(text, encoding="utf-8")
    for read in (read_record, read_failure):
        with pytest.raises(DataError) as error:
            read(path)
        assert str(error.value).startswith(f"{path}: ")
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 500


def test_settings_that_are_not_those_of_their_digest_are_named(whole: Folder) -> None:
    path = whole.cell / "record.json"
    path.write_text(path.read_text().replace('"lr": 0.4', '"lr": 0.1'))
    with pytest.raises(DataError, match=r"record.json: config_digest: is not that of the settings in config; put back"):
        read_record(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=some.data())
def test_every_command_ends_well_on_any_record(whole: Folder, data: some.DataObject) -> None:
    whole.restore()
    name = data.draw(some.sampled_from(sorted(whole.original)))
    content = whole.original[name]
    if data.draw(some.booleans()):  # as an earlier version would have left it: no digest tells
        record = json.loads(whole.original["record.json"])
        del record["files"]
        (whole.cell / "record.json").write_text(json.dumps(record))
        content = (whole.cell / name).read_bytes()
    if name.endswith(".json") and data.draw(some.booleans()):
        changed = data.draw(mistaken_json(content.decode())).encode("utf-8", "surrogatepass")
    else:
        changed = data.draw(mistaken_bytes(content))
    (whole.cell / name).write_bytes(changed)
    check_end(invoked(*data.draw(some.sampled_from(whole.commands()))))
    whole.make_run_plan()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=some.data())
def test_every_command_ends_well_on_any_failure(folder: Folder, data: some.DataObject) -> None:
    cell = folder.grid.cells[0]
    record, failure = folder.cell / "record.json", folder.store.failure_file(cell)
    record.unlink()
    try:
        folder.store.write_failure(cell, "the loss became nan")
        failure.write_bytes(data.draw(mistaken_json(failure.read_text())).encode("utf-8", "surrogatepass"))
        check_end(invoked(*data.draw(some.sampled_from(folder.commands()))))
        folder.make_run_plan()
    finally:
        failure.unlink()
        folder.restore()


def test_a_failure_without_a_reason_is_named(grid: Grid, tmp_path: Path) -> None:
    store = ResultStore(tmp_path / "results", grid.name)
    store.write_failure(grid.cells[0], "the loss became nan")
    path = store.failure_file(grid.cells[0])
    failure = json.loads(path.read_text())
    for changed in (
        {**failure, "reason": 5},
        {key: value for key, value in failure.items() if key != "reason"},
    ):
        path.write_text(json.dumps(changed))
        assert store.state(grid.cells[0]) == "failed"
        with pytest.raises(DataError, match=r"failed.json: reason: .*; delete the file, and `fewshot-km run`"):
            store.failure(grid.cells[0])
