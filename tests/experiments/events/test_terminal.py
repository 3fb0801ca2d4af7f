"""What a user sees while a grid runs: bars on a terminal, lines elsewhere."""

import io
import json
import re
from contextlib import nullcontext
from pathlib import Path

import pytest
from rich.console import Console

from fewshot_km.experiments.events import clock
from fewshot_km.experiments.events.event import (
    CellFailed,
    CellFinished,
    CellSkipped,
    CellStarted,
    EpisodesTested,
    ProcessLost,
    Warned,
)
from fewshot_km.experiments.events.lines import JsonLines, print_problems
from fewshot_km.experiments.events.terminal import TerminalDisplay
from fewshot_km.experiments.settings.grid import Grid
from fewshot_km.training.history import IterationDone
from tests.support.harmful_text import is_harmful
from tests.support.made_up_results import small_grid

SUMMARY = {
    "test_accuracy": 0.87654,
    "test_episodes": 5,
    "best_iteration": 2,
    "train_seconds": 3725.0,
    "test_seconds": 61.2,
}


@pytest.fixture
def grid(tmp_path: Path) -> Grid:
    return small_grid(tmp_path)


def watch(grid: Grid, *, terminal: bool) -> str:
    """Everything shown for a cell that succeeds and one that fails."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=160)
    with TerminalDisplay(2, console) as display:
        display(grid.cells[0], CellStarted(0))
        display(grid.cells[0], IterationDone(1, 1.5, 0.25, None))
        display(grid.cells[0], IterationDone(2, 1.25, 0.5, 0.625))
        display._bars.refresh()
        display(grid.cells[0], EpisodesTested(2))
        display._bars.refresh()
        display(grid.cells[0], CellFinished(SUMMARY))
        display(grid.cells[2], CellStarted(0))
        display(grid.cells[2], CellFailed("the outer loss became nan [/]"))
    return file.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_what_stays_is_a_line_for_each_cell(grid: Grid, terminal: bool) -> None:
    shown = watch(grid, terminal=terminal)
    assert "[1/2] glyphs-5w1s/maml/seed0: test accuracy 87.65 % over 5 episodes" in shown
    assert "best validation at iteration 2; trained 1 h 02 min, tested 1 min 01 s" in shown
    assert "[2/2] glyphs-5w1s/km-maml/seed0: FAILED: the outer loss became nan [/]" in shown


@pytest.mark.parametrize("kind", ["terminal", "plain", "quiet", "json"])
def test_what_others_say_commands_no_terminal(grid: Grid, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    file, cell, text = io.StringIO(), grid.cells[0], "\x1b]0;owned\x07 \u202eneddih\x9b2J\nsecond line " + "x" * 10_000
    console = Console(file=file, force_terminal=False, width=160)
    display = {
        "terminal": TerminalDisplay(2, Console(file=file, force_terminal=True, width=160)),
        "plain": TerminalDisplay(2, console),
        "quiet": nullcontext(print_problems),
        "json": nullcontext(JsonLines(file)),
    }[kind]
    with display as hear:
        for event in (Warned(text), ProcessLost(text), CellFailed(text)):
            hear(cell, event)
    shown = file.getvalue() + capsys.readouterr().err
    ours = re.sub(r"\x1b\[\??[0-9;]*[A-Za-z]|\r", "", shown)  # a terminal's bars are drawn with commands of our own
    assert not any(map(is_harmful, ours.replace("\n", "")))
    said = [json.loads(line) for line in shown.splitlines()] if kind == "json" else None
    for line in [event.get("text") or event["reason"] for event in said] if said else ours.splitlines():
        assert not line or "\\u001b]0;owned\\u0007 \\u202eneddih\\u009b2J second line xx" in line or kind == "terminal"
        assert len(line) < 3000
    assert ours.count("neddih") == 3


def test_a_terminal_shows_bars_with_loss_accuracy_rate_and_the_test(grid: Grid) -> None:
    shown = watch(grid, terminal=True)
    assert "loss 1.250  accuracy 0.500  validation 0.625" in shown
    assert "episodes/s" in shown
    assert "2/4" in shown  # iterations
    assert "glyphs-5w1s/maml/seed0 test" in shown
    assert "2/5" in shown  # test episodes


def test_elsewhere_there_is_a_plain_line_now_and_then(grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "loss" not in watch(grid, terminal=False).replace("outer loss", "")  # not before the period is over
    monkeypatch.setattr(clock, "PERIOD_SECONDS", 0.0)
    shown = watch(grid, terminal=False)
    assert "[1/2] glyphs-5w1s/maml/seed0: 2/4  loss 1.250  accuracy 0.500  validation 0.625" in shown
    assert "s left" in shown
    assert "\x1b" not in shown


def test_cells_that_others_have_run_are_done_on_the_overall_bar(grid: Grid) -> None:
    """Two of three cells: one that another run has finished meanwhile, one that another run has."""
    file = io.StringIO()
    with TerminalDisplay(3, Console(file=file, force_terminal=True, width=160)) as display:
        display(grid.cells[0], CellSkipped("another run has finished it meanwhile"))
        display(grid.cells[1], CellSkipped("process 7 runs it"))
        display._bars.refresh()
    assert "glyphs-5w1s/maml/seed0: left out: another run has finished it meanwhile" in file.getvalue()
    assert "2/3" in file.getvalue()
