"""`evaluate`: what it gives to a cell that was finished without it is what `run` would have given."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import run, said
from tests.support.made_up_results import SMALL_GRID, write_grid

TEXT = SMALL_GRID.replace("seeds = [0, 1]", "seeds = [0]")
TASK = Path("results/small/glyphs-5w1s")
CELLS = [f"glyphs-5w1s/{name}/seed0" for name in ("maml", "km-maml")]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory, session_cache: Path) -> Path:
    """The small grid, run."""
    folder = tmp_path_factory.mktemp("new")
    write_grid(folder, TEXT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEWSHOT_KM_CACHE", str(session_cache))
        patch.setenv("FEWSHOT_KM_DATA", str(folder))
        assert run(folder, "run", "small.toml", "--devices", 1) == 0, said(folder)
    return folder


@pytest.fixture
def old(new: Path, tmp_path: Path) -> Path:
    """The same, as a version before would have left it."""
    folder = tmp_path / "old"
    shutil.copytree(new, folder)
    (folder / "said").unlink()
    for path in (folder / TASK).glob("test_examples.*"):
        path.unlink()
    for cell in (folder / TASK).glob("*/seed0"):
        (cell / "analysis.json").unlink()
        change(cell, as_before)
    return folder


def change(cell: Path, how: Callable[[Any], object]) -> None:
    record = json.loads((cell / "record.json").read_text(encoding="utf-8"))
    how(record)
    (cell / "record.json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def as_before(record: Any) -> None:
    del record["test_episodes_digest"], record["results"]["adaptation_seconds"], record["files"]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != "said"}


def test_the_bytes_are_those_of_a_run_but_for_the_time(new: Path, old: Path) -> None:
    before, expected = files(old), files(new)
    assert run(old, "evaluate", "small.toml") == 0, said(old)
    for line, cell in zip(said(old).splitlines()[:2], CELLS, strict=True):
        assert line.startswith(f"{cell}: ")
        assert "% over 5 of 85 open episodes, " in line
    assert said(old).splitlines()[2:] == ["small: 2 finished cells"]
    found = files(old)
    records = {name for name in found if name.endswith("record.json")}
    assert {n: c for n, c in found.items() if n not in records} == {
        n: c for n, c in expected.items() if n not in records
    }
    for name in records:
        was, now, ran = (json.loads(contents[name]) for contents in (before, found, expected))
        assert now.pop("analysed").keys() == {"at", "git_commit", "device", "threads"}
        assert now.pop("test_episodes_digest") == ran["test_episodes_digest"]
        assert 0 < now["results"].pop("adaptation_seconds") < 10
        analysis = found[name.replace("record.json", "analysis.json")]
        assert now.pop("files") == {"analysis.json": hashlib.sha256(analysis).hexdigest()}
        assert now == was
        assert json.dumps(now) == json.dumps(was)  # in the same order

    assert run(old, "evaluate", "small.toml") == 0
    assert said(old).splitlines()[3:] == ["small: 2 finished cells"]
    assert files(old) == found
    assert run(old, "list", "small.toml") == 0
    assert run(old, "report", "small.toml", "--format", "md") == 0
    apart = "## Costs and settings"  # which hold the time of adaptation
    printed = said(old).splitlines()
    (not_known,) = [line for line in printed if line.startswith("- Not known of 2 of 2 finished cells: ")]
    printed.remove(not_known)  # whether the accuracies are still as they were written
    assert (new / "results/small/table.md").read_text().partition(apart)[0] in "\n".join(printed)


def test_only_the_images_are_made_where_only_they_are_not_there(new: Path, old: Path) -> None:
    shutil.rmtree(old / "results")
    shutil.copytree(new / "results", old / "results")
    for path in [*(old / TASK).glob("test_examples.*"), *(old / TASK).glob("*/seed0/weights.safetensors")]:
        path.unlink()
    assert run(old, "evaluate", "small.toml") == 0
    assert said(old).splitlines() == [
        "glyphs-5w1s: example images written",
        "small: 2 finished cells",
    ]
    assert files(old) == {n: c for n, c in files(new).items() if not n.endswith("weights.safetensors")}


def test_what_cannot_be_analysed_is_named_and_the_others_are(old: Path) -> None:
    maml, km_maml = (old / TASK / name / "seed0" for name in ("maml", "km-maml"))
    weights = (maml / "weights.safetensors").read_bytes()
    for damage, message in (
        (lambda: (maml / "weights.safetensors").unlink(), r"weights.safetensors is gone: put back the one"),
        (lambda: (maml / "weights.safetensors").write_bytes(weights[:-9]), "weights.safetensors is damaged ("),
        (
            lambda: shutil.copy(km_maml / "weights.safetensors", maml),
            "seed0 are another learner's or network's",
        ),
        (
            lambda: (
                (maml / "weights.safetensors").write_bytes(weights),
                change(maml, lambda record: record.update(dataset_digest="another")),
            ),
            "it was run on another version of 'glyphs' than the one at hand",
        ),
    ):
        damage()
        assert run(old, "evaluate", "small.toml") == 1
        (line,) = [line for line in said(old).splitlines() if line.startswith(f"{CELLS[0]}: left as it was: ")]
        assert message in line
        assert said(old).splitlines()[-1] == "error: 1 could not be analysed"
        assert not (maml / "analysis.json").exists()
        assert (km_maml / "analysis.json").exists()
        (old / "said").unlink()
    for path in (old / TASK).glob("test_examples.*"):
        path.unlink()
    assert run(old, "evaluate", "small.toml") == 1
    assert "glyphs-5w1s: example images written" in said(old)


def test_cells_that_are_not_finished_are_counted(old: Path) -> None:
    write_grid(old, SMALL_GRID)
    assert run(old, "evaluate", "small.toml", "--only", "learner=maml") == 0
    last = "small: 1 finished cell, 1 not finished, which `fewshot-km run` will analyse, too"
    assert said(old).splitlines()[-1] == last
    (old / TASK / "maml/seed0/analysis.json").write_text("{")
    assert run(old, "evaluate", "small.toml") == 2
    assert "analysis.json: is not as it was written" in said(old).splitlines()[-1]
