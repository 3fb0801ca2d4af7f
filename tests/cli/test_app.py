"""The command line end to end: real processes, real training on the embedded data set, exit status."""

import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from fewshot_km.cli.app import app
from fewshot_km.data import DATASETS
from fewshot_km.data.splits import read_class_lists
from fewshot_km.experiments.settings.explain import explain_keys
from fewshot_km.experiments.settings.grid import load_grid, shipped_grids
from fewshot_km.experiments.store.result_store import ResultStore
from fewshot_km.text import counted
from tests.experiments.test_survival import until
from tests.support.command_line import ROOT, fewshot_km, said, started
from tests.support.made_up_results import SMALL_GRID, results, store_result, write_grid

InProcess = Callable[..., Any]
RUN_BENCHMARKS = Path(__file__).resolve().parents[2] / "run_benchmarks.py"
FIRST_ORDER_MAML = ROOT / "tests" / "support" / "first_order_maml.py"


def as_a_user_does(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line in `folder`, imports and all; warnings are errors there too."""
    command = [sys.executable, "-W", "error", RUN_BENCHMARKS, *arguments]
    environment = os.environ | {"COLUMNS": "200"}
    return subprocess.run(
        list(map(str, command)), cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.fixture
def in_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InProcess:
    """The command line without a process of its own, in a temporary folder: for what ends before any training."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture(scope="module")
def finished(once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A folder in which the small grid has run."""

    def fill(folder: Path) -> None:
        write_grid(folder)
        done = as_a_user_does("run", "small.toml", folder=folder)
        assert done.returncode == 0, done.stderr
        assert "± episodes" in done.stdout
        assert "[4/4] glyphs-5w1s/km-maml/seed1: test accuracy" in done.stderr

    return once("finished", fill)


def test_the_same_grid_gives_the_same_bytes_elsewhere(finished: Path, tmp_path: Path) -> None:
    grid = write_grid(tmp_path)
    done = fewshot_km("run", grid, "--results", "elsewhere", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    again = results(tmp_path / "elsewhere" / "small")
    assert len(again) == 12
    assert again == results(finished / "results" / "small")


def test_records_say_what_was_computed_and_with_what(finished: Path) -> None:
    folder = finished / "results" / "small" / "glyphs-5w1s" / "km-maml" / "seed1"
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    assert record["config"]["learner"] == {"name": "km-maml", "norm_affine": "bias"}
    assert record["config"]["network"] == {"name": "conv4", "filters": 8, "downsampling": "stride", "norm": "batch"}
    assert record["config"]["seed"] == 1
    assert len(record["config_digest"]) == len(record["dataset_digest"]) == 64
    assert {"fewshot_km", "git_commit", "python", "libraries", "platform", "device"} <= set(record["environment"])
    assert record["started"] <= record["ended"]
    # 4 layers x 162 modulator numbers, 4 shifts of 8 filters, a head of 8 x 5 + 5; 4 bytes each
    assert record["results"]["adapted_parameters"] == 4 * 162 + 4 * 8 + 45
    assert record["results"]["bytes_per_task"] == 4 * (4 * 162 + 4 * 8 + 45)
    episodes = pd.read_csv(folder / "test_episodes.csv")
    assert episodes["episode"].tolist() == [0, 1, 2, 3, 4]
    assert ((episodes["accuracy"] * 25) % 1 == 0).all()  # 5 ways x 5 queries
    assert record["results"]["test_accuracy"] == pytest.approx(episodes["accuracy"].mean())
    assert pd.read_csv(folder / "history.csv")["iteration"].tolist() == [2, 4]


def test_finished_cells_are_not_run_again(finished: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in (finished / "results").rglob("record.json")}
    done = fewshot_km("run", "small.toml", folder=finished)
    assert done.returncode == 0
    assert "all 4 cells are done; nothing to run" in done.stderr
    assert {p: p.stat().st_mtime_ns for p in (finished / "results").rglob("record.json")} == before


def test_list_and_report_read_the_store(finished: Path) -> None:
    listed = fewshot_km("list", "small.toml", folder=finished).stdout.splitlines()
    assert len(listed) == 5
    assert all("done" in line and "test accuracy" in line for line in listed[1:])
    csv = fewshot_km("report", "small.toml", "--format", "csv", folder=finished).stdout
    assert csv == (finished / "results" / "small" / "table.csv").read_text(encoding="utf-8")
    stored = [pd.read_csv(p)["accuracy"].mean() for p in (finished / "results").rglob("maml/seed*/test_episodes.csv")]
    row = pd.read_csv(io.StringIO(csv)).set_index("learner").loc["maml"]
    assert row["accuracy_percent"] == pytest.approx(100 * sum(stored) / 2)
    markdown = fewshot_km("report", "small.toml", "--format", "md", folder=finished).stdout
    assert markdown == (finished / "results" / "small" / "table.md").read_text(encoding="utf-8")


def test_report_writes_figures_and_says_where(finished: Path) -> None:
    done = fewshot_km("report", "small.toml", "--figures", folder=finished)
    assert done.returncode == 0, done.stderr
    written = [finished / line for line in done.stdout.splitlines()]
    assert all(path.is_file() for path in written)
    assert {path.parent for path in written} == {finished / "results" / "small" / "figures"}
    names = ("accuracy", "differences", "parameters", "learning", "inner-steps", "kernels-maml", "kernels-km-maml")
    assert {path.name for path in written} == {
        "captions.md",
        *(f"{name}.{ending}" for name in names for ending in ("svg", "pdf", "png")),
    }


def test_a_users_learner_runs_in_a_grid_and_stands_in_the_table(tmp_path: Path) -> None:
    listed = fewshot_km("learners", "--plugin", FIRST_ORDER_MAML, folder=tmp_path)
    assert "First-order MAML in my own words." in listed.stdout
    write_grid(tmp_path, SMALL_GRID.replace('"maml"', '"my-fomaml", "maml"').replace("seeds = [0, 1]", "seeds = [0]"))
    done = fewshot_km("run", "small.toml", "--plugin", FIRST_ORDER_MAML, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    row = pd.read_csv(tmp_path / "results" / "small" / "table.csv").set_index("learner").loc["my-fomaml"]
    assert row["seeds_done"] == 1
    without = fewshot_km("run", "small.toml", folder=tmp_path)
    assert without.returncode == 2
    assert "learners[0]: unknown learner 'my-fomaml'" in without.stderr

    edited = tmp_path / "edited.py"
    edited.write_text(FIRST_ORDER_MAML.read_text() + "\n# another version\n")
    states = fewshot_km("list", "small.toml", "--plugin", edited, folder=tmp_path).stdout.splitlines()
    assert [line.split()[3] for line in states[1:4]] == ["to", "done", "done"]
    assert states[4].startswith("1 cell is finished with other settings: the plug-in of learner 'my-fomaml' ")


def test_first_order_in_a_users_words_is_ours(tmp_path: Path) -> None:
    """The plug-in against the built-in first-order option: the same network, the same episodes, the same accuracies."""
    ours = '{ name = "maml", label = "ours", norm_affine = "full", inner = { order = "first" } }'
    write_grid(tmp_path, SMALL_GRID.replace('"maml"', f'"my-fomaml", {ours}').replace("seeds = [0, 1]", "seeds = [0]"))
    done = fewshot_km("run", "small.toml", "--plugin", FIRST_ORDER_MAML, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "results" / "small" / "glyphs-5w1s"
    mine, theirs = (folder / name / "seed0" / "test_episodes.csv" for name in ("my-fomaml", "ours"))
    assert mine.read_bytes() == theirs.read_bytes()


def test_an_edited_grid_runs_what_changed_and_says_why(tmp_path: Path) -> None:
    one = SMALL_GRID.replace("seeds = [0, 1]", "seeds = [0]")
    write_grid(tmp_path, one)
    assert fewshot_km("run", "small.toml", folder=tmp_path).returncode == 0
    before = results(tmp_path / "results")
    write_grid(tmp_path, "# a comment\n" + one.replace('norm_affine = "bias" }', 'norm_affine = "none" }'))
    edited = fewshot_km("run", "small.toml", folder=tmp_path)
    assert "km-maml, seed 0: settings changed: learner.norm_affine bias -> none; earlier results are" in edited.stderr
    assert "small: 1 cell to run" in edited.stderr
    assert list((tmp_path / "results/small/glyphs-5w1s/km-maml").glob("seed0.*/record.json"))
    write_grid(tmp_path, one)
    again = fewshot_km("run", "small.toml", folder=tmp_path)
    assert "all 2 cells are done; nothing to run" in again.stderr  # taken back: those of before count again
    kept = results(tmp_path / "results")
    assert all(content in kept.values() for content in before.values())


def test_clean_asks_before_it_deletes(tmp_path: Path, in_process: InProcess) -> None:
    grid = load_grid(write_grid(tmp_path))
    store = ResultStore(tmp_path / "results", "small")
    store_result(store, grid.cells[0], np.array([0.1, 0.5, 0.9, 0.2, 0.4]))
    folder = store.unfinished(grid.cells[0]).folder
    folder.mkdir()
    answers = CliRunner()
    declined = answers.invoke(app, ["clean", "small.toml"], input="n\n")
    assert "unfinished, of other settings or a cell that is done, 0 bytes" in declined.output
    assert folder.is_dir()
    assert answers.invoke(app, ["clean", "small.toml"], input="y\n").exit_code == 0
    assert not folder.exists()
    assert "nothing is left over" in in_process("clean", "small.toml").output
    assert store.state(grid.cells[0]) == "done"


def test_a_cell_that_diverges_is_marked_and_the_others_go_on(tmp_path: Path) -> None:
    text = SMALL_GRID.replace('"maml"', '{ name = "maml", inner = { lr = 1e38 } }')
    write_grid(tmp_path, text)
    done = fewshot_km("run", "small.toml", "--backend", "plain", folder=tmp_path)
    assert done.returncode == 1
    assert "FAILED: the outer loss became" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: 2 of 4 cells failed: glyphs-5w1s/maml/seed0")
    listed = fewshot_km("list", "small.toml", folder=tmp_path).stdout.splitlines()
    assert ["failed" in line for line in listed[1:]] == [True, True, False, False]
    table = (tmp_path / "results" / "small" / "table.md").read_text(encoding="utf-8")
    assert re.search(r"^\| maml +\| +failed \|$", table, re.M)
    assert "- glyphs-5w1s/maml/seed1 failed: the outer loss became" in table


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "quickstat"], "error: unknown grid 'quickstat': did you mean 'quickstart'? "),
        (["run", "nowhere.toml"], "error: there is no grid file nowhere.toml: check the path"),
        (["run", "bad.toml"], "error: bad.toml: inner.lr: -1: input should be greater than 0"),
        (["run", "wide.toml"], "error: wide: glyphs-200w1s/maml: 200-way 1-shot needs 200 classes; split 'val' of"),
        (["run", "odd.toml"], "error: odd: glyphs-5w1s/maml: conv4 needs a positive whole number of filters, not 0"),
        (["run", "small.toml", "--device", "abacus"], "error: --device abacus: unknown; allowed: auto, cpu, cuda"),
        (["run", "small.toml", "--device", "cuda:99"], "error: --device cuda:99: cannot be used here ("),
        (
            ["run", "small.toml", "--results", "small.toml"],
            "error: results cannot be kept in small.toml/small: small.toml is a file where a folder is needed",
        ),
        (["report", "small.toml"], "error: grid 'small' has no finished cell under results/small: run it first"),
        (["learners", "mml"], "error: unknown learner 'mml': did you mean 'maml'"),
        (["data", "info", "omniglot"], "error: Omniglot: images_background.zip and images_evaluation.zip not found in"),
        (["data", "fetch", "glyphs"], "error: there is nothing to fetch for data set 'glyphs'"),
        (["data", "show", "glyphs", "--split", "train", "--out", "x.doc"], "error: --out x.doc: the name must end in"),
        (
            ["data", "show", "glyphs", "--out", "gone/x.png"],
            "error: --out gone/x.png: there is no folder gone: make it",
        ),
        (
            ["data", "show", "glyphs", "--ways", "５"],
            "error: Invalid value for '--ways': '５' is no whole number from 1",
        ),
        (
            ["episodes", "dump", "small.toml", "--out", "gone/x"],
            "error: --out gone/x: there is no folder gone: make it",
        ),
        (["run", "small.toml", "--jobs", "１"], "error: Invalid value for '--jobs': '１' is no whole number from 1 to"),
        (["run", "small.toml", "--jobs", "9" * 5000], "error: Invalid value for '--jobs': '999"),
        (
            ["run", "small.toml", "--cell-cpus", "nan"],
            "error: Invalid value for '--cell-cpus': 'nan' is no number from",
        ),
        (
            ["run", "small.toml", "--cell-gpus", "inf"],
            "error: Invalid value for '--cell-gpus': 'inf' is no number from",
        ),
        (["run", "small.toml", "--checkpoint-every", "1e99"], "error: Invalid value for '--checkpoint-every': '1e99'"),
        (["run", "small.toml", "--task-chunk", "0"], "error: Invalid value for '--task-chunk': '0' is no whole number"),
        (["run", "small.toml", "--budget", "１h"], "error: --budget １h: write a time such as 90s"),
        (["run", "small.toml", "--shard", "１/2"], "error: --shard １/2: write i/n"),
        (["run", "many.toml", "--jobs", "999"], "error: --jobs: 999 processes of some 300 MB each are too many"),
        (["run", "many.toml", "--jobs", "999", "--dry-run"], "error: --jobs: 999 processes of some 300 MB each are"),
        (["run", "small.toml", "--budget", "1d", "--dry-run"], "error: --budget 1d: write a time such as 90s"),
        (["run", "folder.toml"], "error: folder.toml is no ordinary file: name a grid's TOML file"),
        (
            ["run", "latin1.toml"],
            "error: latin1.toml: is no text in UTF-8 (byte 269): a grid is a short TOML file in UTF-8",
        ),
        (
            ["run", "large.toml"],
            "error: large.toml: has 2,097,152 bytes, and no such file needs more than 1,048,576: a grid",
        ),
        (["run", "cells.toml"], "error: cells.toml: 20,000 cells are more than 10,000: make several grids of it"),
        (["run", "key.toml"], "error: key.toml: tasks[0].kkk"),
        (["run", "escape.toml"], "error: escape.toml: \\u001b[31m\\u202e: unknown key"),
        (
            ["run", "small.toml", "--dry-run", "--set", "outer.meta_batch=1000000000"],
            "error: small: glyphs-5w1s/maml: ou",
        ),
        (
            ["run", "small.toml", "--set", f"test.episodes={2**62}"],
            "error: small: glyphs-5w1s/maml: test.episodes: draw",
        ),
        (["run"], "error: Missing argument 'GRID'"),
        (["bogus"], "error: No such command 'bogus'"),
        (["--bogus"], "error: No such option: --bogus"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(
    tmp_path: Path, in_process: InProcess, arguments: list[str], message: str
) -> None:
    write_grid(tmp_path)
    write_grid(tmp_path, SMALL_GRID.replace("lr = 0.4", "lr = -1"), name="bad")
    write_grid(tmp_path, SMALL_GRID.replace("ways = 5", "ways = 200"), name="wide")
    write_grid(tmp_path, SMALL_GRID.replace("filters = 8", "filters = 0"), name="odd")
    write_grid(tmp_path, SMALL_GRID.replace("[0, 1]", str(list(range(999)))), name="many")
    write_grid(tmp_path, SMALL_GRID.replace("[0, 1]", str(list(range(10_000)))), name="cells")
    write_grid(tmp_path, SMALL_GRID.replace("[network]", "k" * 10**6 + " = 1\n[network]"), name="key")
    write_grid(tmp_path, '"\\u001b[31m\\u202e" = 1\n' + SMALL_GRID, name="escape")
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "latin1.toml").write_bytes(SMALL_GRID.encode() + b"# \xe4")
    (tmp_path / "large.toml").write_bytes(bytes(2 << 20))
    done = in_process(*arguments)
    assert done.exit_code == 2
    lines = done.stderr.splitlines()
    assert lines[-1].startswith(message), done.stderr
    assert "Traceback" not in done.stderr
    assert sum(line.startswith("error:") for line in lines) == 1
    assert max(map(len, lines)) < 3000
    assert not (tmp_path / "results").exists()
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize("command", ["list", "run", "report"])
def test_several_mistakes_are_a_line_each(tmp_path: Path, in_process: InProcess, command: str) -> None:
    write_grid(tmp_path, SMALL_GRID.replace('"maml"', '"malm"').replace("ways = 5", "ways = 1\nsize = 3"))
    done = in_process(command, "small.toml")
    assert (done.exit_code, done.stdout) == (2, "")
    first, *others = done.stderr.splitlines()
    assert first == "error: small.toml: 3 mistakes"
    starts = ("  learners[0]: unknown learner 'malm'", "  tasks[0].size: unknown key", "  tasks[0].ways: 1: ")
    assert [line.startswith(start) for line, start in zip(sorted(others), starts, strict=True)] == [True] * 3
    assert others == sorted(others, key=len)


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
def test_an_empty_share_says_so_and_is_no_error(tmp_path: Path, in_process: InProcess, more: list[str]) -> None:
    write_grid(tmp_path)
    done = in_process("run", "small.toml", "--only", "seed=0", "--only", "learner=maml", "--shard", "5/5", *more)
    assert done.exit_code == 0
    assert done.stderr == "small: this share is empty, as there are more shares than cells; nothing to run\n"
    assert not (tmp_path / "results").exists()


def test_an_interrupt_keeps_finished_cells_and_the_next_run_goes_on(finished: Path, tmp_path: Path) -> None:
    """Interrupted after two cells, then run again: the same bytes as the run that nobody interrupted."""
    write_grid(tmp_path)
    with started(tmp_path, "run", "small.toml") as process:
        until(process, tmp_path, lambda: "[3/4]" in said(tmp_path))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGINT)
        process.join(60)
        assert process.exitcode == 130
    assert said(tmp_path).splitlines()[-1] == "interrupted: the same command goes on from here"
    assert "Traceback" not in said(tmp_path)
    kept = len({Path(name).parent for name in results(tmp_path / "results" / "small")})
    assert kept in (2, 3)  # the third may have been finished in the meantime
    done = fewshot_km("run", "small.toml", folder=tmp_path)
    assert done.returncode == 0
    assert f"{counted(4 - kept, 'cell')} to run, {kept} of the grid left out or done before" in done.stderr
    assert results(tmp_path / "results" / "small") == results(finished / "results" / "small")


def test_tables_fit_a_terminal_of_80_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = SMALL_GRID.replace("iterations = 4", "iterations = 60_000").replace('"maml"', '"maml", "anil"')
    write_grid(tmp_path, text + "\n", name="small")
    grid = load_grid(tmp_path / "small.toml")
    store = ResultStore(tmp_path / "results", "small")
    for cell in grid.cells:
        store_result(store, cell, np.array([0.1, 0.5, 0.9, 0.2, 0.4]), adapted=1_127_240)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    shown = CliRunner().invoke(app, ["report", "small.toml"]).stdout
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    for text in (
        "Grid small",
        "settings, glyphs-5w1s",
        "norm batch",
        "order second",
        "iterations 60,000",
        "km-maml",
        "1,127,240",
    ):
        assert text in shown


@pytest.mark.parametrize("arguments", [["config", "explain"], ["datasets"], ["list"]])
def test_a_pipe_gets_a_line_for_each_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    """However narrow the terminal that nobody looks at."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("os.get_terminal_size", lambda _: os.terminal_size((0, 0)))
    header, *lines = CliRunner().invoke(app, arguments).stdout.splitlines()
    names = {
        "config": [key.name for key in explain_keys()],
        "datasets": DATASETS.names(),
        "list": list(shipped_grids()),
    }[arguments[0]]
    assert [line.split()[0] for line in lines] == names
    assert header.split()[0] in ("key", "data", "grid")


def test_help_names_every_command_and_exit_status(in_process: InProcess) -> None:
    text = in_process("--help").stdout
    for command in (
        "run",
        "list",
        "report",
        "compare",
        "evaluate",
        "clean",
        "learners",
        "networks",
        "datasets",
        "protocols",
        "config",
        "data",
    ):
        assert re.search(rf"^  {command} ", text, re.M)
    assert "130 interrupted" in text
    assert "--plugin" in in_process("run", "--help").stdout


def test_a_bare_command_shows_help_and_how_to_start(tmp_path: Path, in_process: InProcess) -> None:
    done = in_process()
    assert (done.exit_code, done.stdout) == (0, in_process("--help").stdout)
    assert "\n    fewshot-km run quickstart\n" in done.stdout
    assert not (tmp_path / "results").exists()


def test_the_version_is_the_installed_one(in_process: InProcess) -> None:
    assert in_process("--version").stdout == f"fewshot-km {version('fewshot_km')}\n"


def test_a_checkout_runs_the_quickstart_where_nothing_is_asked(tmp_path: Path) -> None:
    """Of a grid that is done, there is nothing to run."""
    grid = load_grid(shipped_grids()["quickstart"])
    for cell in grid.cells:
        store_result(ResultStore(tmp_path / "results", "quickstart"), cell, np.linspace(0.2, 1, 200))
    done = as_a_user_does(folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "quickstart: all 9 cells are done; nothing to run" in done.stderr
    assert "Grid quickstart" in done.stdout


@pytest.mark.parametrize(("command", "name"), [("learners", "anil"), ("networks", "conv4"), ("datasets", "omniglot")])
def test_what_a_grid_can_name_is_listed_with_a_line_each(in_process: InProcess, command: str, name: str) -> None:
    listed = in_process(command).stdout.splitlines()
    assert any(line.startswith(name) and len(line.split()) > 4 for line in listed)
    assert in_process(command, f"{name[:3]}*").stdout.splitlines()[1].startswith(name)


def test_the_errors_of_a_real_process_are_on_stderr_alone(tmp_path: Path) -> None:
    done = as_a_user_does("run", "quickstat", folder=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: unknown grid 'quickstat'")
    assert done.stderr.count("\n") == 1


PARTIAL_GRID = """
seeds = [0]
learners = ["anil"]

[[tasks]]
dataset = { name = "mini-imagenet", allow_partial = true }
ways = 2
shots = 1
train_queries = 1
test_queries = 1

[[tasks]]
dataset = { name = "folder", path = "zoo", size = 28, colour = "grey", fractions = [0.4, 0.3, 0.3] }
label = "zoo"
ways = 2
shots = 1
train_queries = 1
test_queries = 1

[network]
filters = 4

[inner]
lr = 0.1

[outer]
meta_batch = 2
iterations = 2

[validation]
every = 2
episodes = 2

[test]
episodes = 3
"""


def test_a_part_of_a_data_set_and_ones_own_images_run_and_every_result_says_which(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    lists = read_class_lists("mini-imagenet")
    folders = [f"data/mini-imagenet/{split}/{name}" for split, names in lists.items() for name in names[:2]]
    for folder in folders + [f"data/zoo/animal {i}" for i in range(8)]:
        (tmp_path / folder).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(noise.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(tmp_path / folder / f"{i}.jpg")
    write_grid(tmp_path, PARTIAL_GRID)
    done = fewshot_km("run", "small.toml", "--data-root", "data", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    partial = "6 of 100 classes, 12 of 60,000 images"
    lines = done.stderr.splitlines()
    assert len([line for line in lines if line.startswith("mini-imagenet: ") and partial in line]) == 1
    assert len([line for line in lines if line.startswith("folder zoo: class folders")]) == 1
    assert f"mini-imagenet-2w1s: {partial}" in " ".join(done.stdout.split())

    task = tmp_path / "results" / "small"
    record = json.loads((task / "mini-imagenet-2w1s" / "anil" / "seed0" / "record.json").read_text())
    assert record["dataset_partial"] == partial
    assert record["config"]["task"]["dataset"] == {"name": "mini-imagenet", "allow_partial": True}
    assert str(tmp_path) not in json.dumps(record)
    own = json.loads((task / "zoo" / "anil" / "seed0" / "record.json").read_text())
    assert own["dataset_partial"] is None
    assert own["dataset_found"].startswith("class folders, split with seed 0 in zoo, 16 images of 40x30")
    assert f"partial: {partial}" in (task / "table.md").read_text()
    listed = fewshot_km("list", "small.toml", folder=tmp_path).stdout
    assert f"%; partial: {partial}" in listed


def test_data_commands_take_the_options_of_a_data_set(tmp_path: Path, in_process: InProcess) -> None:
    for i in range(6):
        (tmp_path / "zoo" / f"動物 {i}").mkdir(parents=True)
        Image.new("L", (9, 9), 40 * i).save(tmp_path / "zoo" / f"動物 {i}" / "a.png")
    options = ("--data-root", tmp_path, "--option", "path=zoo", "--option", "size=12", "--option", 'colour="grey"')
    info = in_process("data", "info", "folder", *options).stdout
    assert "6, 12x12, 1 channel\n" in info
    assert "found          class folders, split with seed 0 in zoo, 6 images of 9x9, brought to 12x12" in info
    order = sorted((f"動物 {i}" for i in range(6)), key=lambda name: hashlib.sha256(f"0/{name}".encode()).hexdigest())
    for split, names in (("train", order[:4]), ("val", order[4:5]), ("test", order[5:])):
        shown = ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
        assert re.search(rf"^{split} classes +{len(names)}  [0-9a-f]{{64}}\n {{15}}{shown}$", info, re.MULTILINE)
    (cache,) = re.findall(r"cache +([0-9.]+) (bytes|kB) in (.*\.npy)", info)
    unit = {"bytes": 1, "kB": 1000}[cache[1]]
    assert float(cache[0]) * unit == pytest.approx(Path(cache[2]).stat().st_size, rel=0.1)
    out = ("--split", "train", "--out", "sheet.png")
    assert in_process("data", "show", "folder", *options, *out).exit_code == 0
    assert in_process("data", "verify", "folder", *options).exit_code == 0
    Path(cache[2]).write_bytes(Path(cache[2]).read_bytes()[:-1] + b"x")
    harmed = in_process("data", "verify", "folder", *options)
    assert harmed.exit_code == 2
    assert f"have changed: delete {cache[2]}" in harmed.output
    for wrong, says in (("path", "write KEY=VALUE"), ("=x", "write KEY=VALUE"), ("sise=3", "has no option 'sise'")):
        refused = in_process("data", "info", "folder", "--option", wrong)
        assert refused.exit_code == 2
        assert says in refused.output


def test_data_commands_describe_verify_and_draw(tmp_path: Path, in_process: InProcess) -> None:
    info = in_process("data", "info", "glyphs").stdout
    assert "28x28, 1 channel" in info
    assert "20 images each" in info
    assert "intact" in in_process("data", "verify", "glyphs").stdout
    for name, more in (("classes.png", ["--classes", 4]), ("episode.png", ["--episode", 7, "--ways", 4])):
        assert in_process("data", "show", "glyphs", "--out", name, *more).exit_code == 0
        with Image.open(tmp_path / name) as picture:
            assert picture.size[0] > 300
            assert len(set(picture.convert("L").tobytes())) > 100
