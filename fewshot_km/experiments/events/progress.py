"""Progress of a running grid: live bars on a terminal, plain lines elsewhere, JSON lines, or nothing but failures."""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from fewshot_km.experiments.settings.grid import Cell
from fewshot_km.text import counted, one_line
from fewshot_km.training.history import Progress as Iteration

if TYPE_CHECKING:
    from fewshot_km.accel.choice import Choice

PLAIN_PERIOD_SECONDS = 10.0  # between lines where there is no terminal: often enough to see life, short logs


@dataclass
class _Running:
    """A cell on its way: its number among those of the run, its bar, its rate."""

    number: int
    bar: TaskID
    clock: "_Clock"
    part: float = 0.0  # of its iterations that is done
    testing: bool = False


class GridDisplay:
    """Shows each cell with loss, accuracy, episodes per second and time left; use as a context manager."""

    def __init__(self, cells: int, console: Console) -> None:
        self._cells = cells
        self._console = console
        self._ended = 0
        self._numbers: dict[str, int] = {}
        self._running: dict[str, _Running] = {}
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[count]}", markup=False),
            TextColumn("{task.fields[detail]}", markup=False),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._overall = self._bars.add_task("cells", total=cells, detail="", count=f"0/{cells}", visible=cells > 1)

    def __enter__(self) -> "GridDisplay":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def cell_started(self, cell: Cell, iteration: int) -> None:
        """Start a bar of the cell's iterations."""
        number = self._numbers.setdefault(str(cell), len(self._numbers) + 1)
        total = cell.config.outer.iterations
        bar = self._bars.add_task(str(cell), total=total, completed=iteration, detail="", count=f"{iteration}/{total}")
        self._running[str(cell)] = _Running(number, bar, _Clock(iteration), iteration / total)
        if iteration:
            self._say(cell, f"goes on after iteration {iteration} of {total}")
        elif not self._console.is_terminal:
            self._say(cell, f"meta-training, {counted(total, 'iteration')}")

    def warned(self, cell: Cell, text: str) -> None:
        """One line that stays."""
        self._say(cell, text)

    def compiling(self, cell: Cell, seconds: float) -> None:
        """One line that stays: why nothing seems to happen."""
        self._say(cell, f"compiling the training step, up to {duration(seconds)}; it is kept for later runs")

    def chosen(self, cell: Cell, purpose: str, choice: "Choice") -> None:
        """One line that stays: the backend that is used, and why."""
        self._say(cell, f"{purpose} by '{choice.backend}': {choice.why}")

    def trained(self, cell: Cell, progress: Iteration) -> None:
        """Advance the bar; without a terminal, a line every ten seconds."""
        running, outer = self._running[str(cell)], cell.config.outer
        rate = running.clock.rate(progress.iteration)
        detail = f"loss {progress.loss:.3f}  accuracy {progress.accuracy:.3f}"
        if progress.val_accuracy is not None:
            detail += f"  validation {progress.val_accuracy:.3f}"
        detail += f"  {rate * outer.meta_batch:.0f} episodes/s"
        count = f"{progress.iteration}/{outer.iterations}"
        self._bars.update(running.bar, completed=progress.iteration, detail=detail, count=count)
        running.part = progress.iteration / outer.iterations
        self._show_overall()
        if not self._console.is_terminal and running.clock.is_time():
            left = (outer.iterations - progress.iteration) / rate
            self._say(cell, f"{count}  {detail}  {duration(left)} left")

    def tested(self, cell: Cell, episodes: int) -> None:
        """Show that the test has begun, and advance it."""
        running, total = self._running[str(cell)], cell.config.test.episodes
        if not running.testing:
            running.testing = True
            self._bars.reset(running.bar, total=total, description=f"{cell} test", detail="test episodes", count="")
        self._bars.advance(running.bar, episodes)
        done = next(task.completed for task in self._bars.tasks if task.id == running.bar)
        self._bars.update(running.bar, count=f"{done:.0f}/{total}")

    def cell_finished(self, cell: Cell, summary: Mapping[str, Any]) -> None:
        """One line that stays: test accuracy and times."""
        self._say(
            cell,
            f"test accuracy {100 * summary['test_accuracy']:.2f} % over {counted(summary['test_episodes'], 'episode')} "
            f"(best validation at iteration {summary['best_iteration']}; "
            f"trained {duration(summary['train_seconds'])}, tested {duration(summary['test_seconds'])})",
        )
        self._close(cell)

    def cell_failed(self, cell: Cell, reason: str) -> None:
        """One line that stays: why."""
        self._say(cell, f"FAILED: {reason}")
        self._close(cell)

    def cell_lost(self, cell: Cell, reason: str) -> None:
        """One line that stays: the cell's process ended, and another one goes on with it."""
        self._say(cell, reason)
        if running := self._running.pop(str(cell), None):
            self._bars.remove_task(running.bar)

    def cell_skipped(self, cell: Cell, reason: str) -> None:
        """One line that stays, and one cell less to come."""
        self._say(cell, f"left out: {reason}")
        self._close(cell)

    def _close(self, cell: Cell) -> None:
        if running := self._running.pop(str(cell), None):
            self._bars.remove_task(running.bar)
        self._ended += 1
        self._show_overall()

    def _show_overall(self) -> None:
        done = self._ended + sum(running.part for running in self._running.values())
        self._bars.update(self._overall, completed=done, count=f"{self._ended}/{self._cells}")

    def _say(self, cell: Cell, text: str) -> None:
        running = self._running.get(str(cell))
        number = f"[{running.number}/{self._cells}] " if running else ""
        self._console.print(f"{number}{cell}: {one_line(text)}", markup=False, highlight=False, soft_wrap=True)


class QuietDisplay:
    """Says nothing but what went wrong."""

    def __enter__(self) -> "QuietDisplay":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def cell_started(self, cell: Cell, iteration: int) -> None:
        """Nothing."""

    def warned(self, cell: Cell, text: str) -> None:
        """A line."""
        print(f"{cell}: {one_line(text)}", file=sys.stderr, flush=True)

    def compiling(self, cell: Cell, seconds: float) -> None:
        """Nothing."""

    def chosen(self, cell: Cell, purpose: str, choice: "Choice") -> None:
        """Nothing."""

    def trained(self, cell: Cell, progress: Iteration) -> None:
        """Nothing."""

    def tested(self, cell: Cell, episodes: int) -> None:
        """Nothing."""

    def cell_finished(self, cell: Cell, summary: Mapping[str, Any]) -> None:
        """Nothing."""

    def cell_failed(self, cell: Cell, reason: str) -> None:
        """A line."""
        self.warned(cell, f"FAILED: {reason}")

    def cell_lost(self, cell: Cell, reason: str) -> None:
        """A line."""
        self.warned(cell, reason)

    def cell_skipped(self, cell: Cell, reason: str) -> None:
        """Nothing."""


class JsonDisplay:
    """One JSON object a line for each thing that happens: {"event": ..., "cell": ..., "seconds": since the start, ...}.

    Iterations are reported every ten seconds, episodes not at all.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._began = time.monotonic()
        self._clocks: dict[str, _Clock] = {}

    def __enter__(self) -> "JsonDisplay":
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def cell_started(self, cell: Cell, iteration: int) -> None:
        """An object."""
        self._clocks[str(cell)] = _Clock(iteration)
        self._write("started", cell, iteration=iteration, iterations=cell.config.outer.iterations)

    def warned(self, cell: Cell, text: str) -> None:
        """An object."""
        self._write("warning", cell, text=one_line(text))

    def compiling(self, cell: Cell, seconds: float) -> None:
        """An object."""
        self._write("compiling", cell, at_most_seconds=seconds)

    def chosen(self, cell: Cell, purpose: str, choice: "Choice") -> None:
        """An object."""
        self._write("chosen", cell, purpose=purpose, **asdict(choice))

    def trained(self, cell: Cell, progress: Iteration) -> None:
        """An object now and then."""
        if self._clocks[str(cell)].is_time():
            self._write("trained", cell, **asdict(progress))

    def tested(self, cell: Cell, episodes: int) -> None:
        """Nothing."""

    def cell_finished(self, cell: Cell, summary: Mapping[str, Any]) -> None:
        """An object."""
        self._write("finished", cell, **summary)

    def cell_failed(self, cell: Cell, reason: str) -> None:
        """An object."""
        self._write("failed", cell, reason=one_line(reason))

    def cell_lost(self, cell: Cell, reason: str) -> None:
        """An object."""
        self._write("lost", cell, reason=one_line(reason))

    def cell_skipped(self, cell: Cell, reason: str) -> None:
        """An object."""
        self._write("skipped", cell, reason=reason)

    def _write(self, event: str, cell: Cell, **facts: Any) -> None:
        seconds = round(time.monotonic() - self._began, 1)
        line = {"event": event, "cell": str(cell), "seconds": seconds} | facts
        print(json.dumps(line), file=self._file, flush=True)


class _Clock:
    """Iterations per second since this run began with the cell, and when a plain line is due."""

    def __init__(self, iterations_before: int) -> None:
        self._before = iterations_before
        self._began = self._last = time.monotonic()

    def rate(self, iterations: int) -> float:
        return max(iterations - self._before, 1) / max(time.monotonic() - self._began, 1e-9)

    def is_time(self) -> bool:
        now = time.monotonic()
        due = now - self._last >= PLAIN_PERIOD_SECONDS
        if due:
            self._last = now
        return due


def duration(seconds: float) -> str:
    """As a person says it: 3 h 05 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
