"""`fewshot-km report` and `list` from stored results: which cells, which tables, as what, and where to."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

from fewshot_km.cli.app import app
from fewshot_km.experiments.settings.grid import load_grid
from fewshot_km.experiments.store.result_store import ResultStore
from fewshot_km.reports.report import TableName
from tests.support.made_up_results import SMALL_GRID, write_grid
from tests.support.made_up_results import store_result as store_one

TWO_TASKS = SMALL_GRID.replace("shots = 1", "shots = [1, 5]").replace("episodes = 5", "episodes = 30")
FORMATS = ("text", "md", "latex", "csv", "html")


def accuracies(place: int) -> Any:
    return np.random.default_rng(place).binomial(25, 0.5 + 0.02 * place, 30) / 25


@pytest.fixture
def fewshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """The command line beside a finished grid of two tasks."""
    grid = load_grid(write_grid(tmp_path, TWO_TASKS))
    for place, cell in enumerate(grid.cells):
        store_one(ResultStore(tmp_path / "results", "small"), cell, accuracies(place))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


def test_cells_with_other_settings_are_no_mystery(fewshot: Callable[..., Any]) -> None:
    other = ("--set", "outer.iterations=16")
    said = "8 cells are finished with other settings: outer.iterations 4"
    assert fewshot("list", "small.toml", *other).stdout.splitlines()[-1] == said
    report = fewshot("report", "small.toml", *other)
    assert report.exit_code == 2
    assert report.stderr.startswith("error: grid 'small' has no finished cell under results/small: run it first; ")
    assert report.stderr.endswith(f"{said}\n")
    assert "other settings" not in fewshot("list", "small.toml").stdout + fewshot("report", "small.toml").stdout


def test_settings_of_a_part_of_the_cells_are_named_below_the_table(fewshot: Callable[..., Any], tmp_path: Path) -> None:
    text = TWO_TASKS.replace('"bias" }', '"bias", inner = { lr = 0.1, train_steps = 2 } }')
    write_grid(tmp_path, text)
    said = "4 cells are finished with other settings: inner.lr 0.4, inner.train_steps 1"
    assert said in fewshot("report", "small.toml").stdout
    listed = fewshot("list", "small.toml", "--only", "seed=1", "--only", "task=*1s").stdout
    assert listed.splitlines()[-1] == said.replace("4 cells are", "1 cell is")


def test_only_some_cells_are_reported(fewshot: Callable[..., Any]) -> None:
    whole, part = (
        pd.read_csv(io.StringIO(fewshot("report", "small.toml", "--format", "csv", *more).stdout))
        for more in ((), ("--only", "task=*5s", "--only", "learner=km-*", "--only", "seed=1"))
    )
    assert part[["task", "learner"]].to_numpy().tolist() == [["glyphs-5w5s", "km-maml"]]
    assert part["accuracy_percent"].tolist() == [pytest.approx(100 * accuracies(7).mean())]
    assert len(whole) == 4
    assert "Only a part of the grid: task=*5s." in fewshot("report", "small.toml", "--only", "task=*5s").stdout
    nothing = fewshot("report", "small.toml", "--only", "seed=7")
    assert (nothing.exit_code, nothing.stderr) == (2, "error: no cell of the grid matches --only seed=7\n")


TITLES = {
    "accuracy": "Grid small",
    "intervals": "Intervals",
    "costs": "Costs and settings",
    "pairwise": "Paired differences",
    "ranks": "Ranks",
    "claims": "Claims",
}


@pytest.mark.parametrize("name", TableName)
def test_tables_are_chosen_by_name(fewshot: Callable[..., Any], name: str) -> None:
    shown = fewshot("report", "small.toml", "--table", name, "--format", "md").stdout
    assert re.findall("^## (.*)$", shown, re.M) == [TITLES[name]]
    other = "costs" if name != "costs" else "ranks"
    both = fewshot("report", "small.toml", "--table", other, "--table", name, "--format", "md").stdout
    assert re.findall("^## (.*)$", both, re.M) == [TITLES[other], TITLES[name]]


@pytest.mark.parametrize("table_format", FORMATS)
@pytest.mark.parametrize("more", [[], ["--pairwise"], ["--check-claims", "--table", "costs"]])
def test_every_format_goes_to_a_file(
    fewshot: Callable[..., Any], tmp_path: Path, table_format: str, more: list[str]
) -> None:
    asked = ("report", "small.toml", "--format", table_format, *more)
    printed = fewshot(*asked)
    written = fewshot(*asked, "--out", "table.txt")
    assert (written.exit_code, written.stdout) == (0, "table.txt\n")
    text = (tmp_path / "table.txt").read_text("utf-8")
    assert text == printed.stdout or (table_format == "text" and text.split() == printed.stdout.split())
    refused = fewshot(*asked, "--out", "gone/table.txt")
    assert refused.exit_code == 2
    assert "there is no folder gone: make it" in refused.stderr


def test_comparisons_are_numbers_in_one_csv_table(fewshot: Callable[..., Any]) -> None:
    text = fewshot("report", "small.toml", "--pairwise", "--format", "csv").stdout
    found = pd.read_csv(io.StringIO(text))
    assert "" not in text.splitlines()
    assert found[["task", "first", "second"]].to_numpy().tolist() == [
        [f"glyphs-5w{shots}s", "maml", "km-maml"] for shots in (1, 5)
    ]
    for row, start in zip(found.itertuples(), (0, 4), strict=True):
        first, second = ((accuracies(place) + accuracies(place + 1)) / 2 for place in (start, start + 2))
        test = stats.ttest_rel(first, second)
        low, high = test.confidence_interval()
        assert row.difference_points == pytest.approx(100 * (first - second).mean())
        assert (row.ci95_low_points, row.ci95_high_points) == pytest.approx((100 * low, 100 * high))
        assert row.p_t == pytest.approx(test.pvalue)
        assert row.n == 30
    assert found["p_holm"].max() == pytest.approx(min(1, max(2 * found["p_t"].min(), found["p_t"].max())))


def test_latex_has_captions_labels_and_short_footnotes(fewshot: Callable[..., Any]) -> None:
    shown = fewshot("report", "small.toml", "--format", "latex", *(f"--table={name}" for name in TableName)).stdout
    tables = shown.split(r"\begin{table}")[1:]
    labels = [re.findall(r"\\label\{(.*?)\}", table) for table in tables]
    assert labels == [[f"tab:small-{name}"] for name in TableName]
    for table in tables:
        assert re.search(r"\\caption\{.*[.]\}", table)
        (footnote,) = re.findall(r"\\footnotesize (.*)\}$", table, re.M)
        assert 10 < len(footnote) < 400, footnote
    accuracy = tables[0]
    assert "over n = 30 test episodes" in accuracy
    assert "transductive" in accuracy


def test_what_did_not_run_has_neither_costs_nor_notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = TWO_TASKS.replace(
        "[network]", '[[tasks]]\nprotocol = "maml-omniglot-20w1s"\nvalidation = { patience = 3 }\n[network]'
    )
    grid = load_grid(write_grid(tmp_path, text))
    store = ResultStore(tmp_path / "results", "small")
    for place, cell in enumerate(grid.cells):
        if cell.task == "glyphs-5w1s" and cell.learner == "maml":
            store_one(store, cell, accuracies(place))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    shown = CliRunner().invoke(app, ["report", "small.toml"]).stdout
    costs = shown.partition("Costs and settings")[2]
    assert "glyphs-5w1s" in costs
    assert not any(words in costs for words in ("5w5s", "20w1s", "km-maml", "training ended where"))
    assert "protocol maml-omniglot-20w1s" not in shown
    assert "omniglot-20w1s" in shown.partition("Intervals")[0]  # to do, which the first table says
