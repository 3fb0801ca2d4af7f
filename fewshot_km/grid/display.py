"""Progress of a running grid: live bars on a terminal, plain lines elsewhere."""

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from fewshot_km.engine import Choice
from fewshot_km.engine import Progress as Iteration
from fewshot_km.grid.grid import Cell

PLAIN_PERIOD_SECONDS = 10.0  # between lines where there is no terminal: often enough to see life, short logs


class GridDisplay:
    """Shows each cell with loss, accuracy, episodes per second and time left; use as a context manager."""

    def __init__(self, cells: int, console: Console) -> None:
        self._cells = cells
        self._console = console
        self._number = 0
        self._clock = _Clock()
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._overall = self._bars.add_task("cells", total=cells, detail="", visible=cells > 1)
        self._bar = TaskID(0)
        self._testing = False

    def __enter__(self) -> "GridDisplay":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def cell_started(self, cell: Cell) -> None:
        """Start a bar of the cell's iterations."""
        self._number += 1
        self._clock = _Clock()
        self._testing = False
        self._bar = self._bars.add_task(str(cell), total=cell.config.outer.iterations, detail="")
        if not self._console.is_terminal:
            self._say(cell, f"meta-training, {cell.config.outer.iterations} iterations")

    def compiling(self, cell: Cell, seconds: float) -> None:
        """One line that stays: why nothing seems to happen."""
        self._say(cell, f"compiling the training step, up to {_duration(seconds)}; it is kept for later runs")

    def chosen(self, cell: Cell, purpose: str, choice: Choice) -> None:
        """One line that stays: the execution that is used, and what the others took."""
        times = ", ".join(f"{name} {seconds:.3g}" for name, seconds in choice.seconds.items())
        self._say(cell, f"{purpose} by '{choice.execution}' (seconds per meta-batch: {times})")

    def trained(self, cell: Cell, progress: Iteration) -> None:
        """Advance the bar; without a terminal, a line every ten seconds."""
        outer = cell.config.outer
        rate = self._clock.rate(progress.iteration)
        detail = f"loss {progress.loss:.3f}  accuracy {progress.accuracy:.3f}"
        if progress.val_accuracy is not None:
            detail += f"  validation {progress.val_accuracy:.3f}"
        detail += f"  {rate * outer.meta_batch:.0f} episodes/s"
        self._bars.update(self._bar, completed=progress.iteration, detail=detail)
        if not self._console.is_terminal and self._clock.is_time():
            left = (outer.iterations - progress.iteration) / rate
            self._say(cell, f"{progress.iteration}/{outer.iterations}  {detail}  {_duration(left)} left")

    def tested(self, cell: Cell, episodes: int) -> None:
        """Show that the test has begun, and advance it."""
        if not self._testing:
            self._testing = True
            total = cell.config.test.episodes
            self._bars.reset(self._bar, total=total, description=f"{cell} test", detail="test episodes")
        self._bars.advance(self._bar, episodes)

    def cell_finished(self, cell: Cell, summary: Mapping[str, Any]) -> None:
        """One line that stays: test accuracy and times."""
        self._say(
            cell,
            f"test accuracy {100 * summary['test_accuracy']:.2f} % over {summary['test_episodes']} episodes "
            f"(best validation at iteration {summary['best_iteration']}; "
            f"trained {_duration(summary['train_seconds'])}, tested {_duration(summary['test_seconds'])})",
        )
        self._close()

    def cell_failed(self, cell: Cell, reason: str) -> None:
        """One line that stays: why."""
        self._say(cell, f"FAILED: {reason}")
        self._close()

    def _close(self) -> None:
        self._bars.remove_task(self._bar)
        self._bars.advance(self._overall)

    def _say(self, cell: Cell, text: str) -> None:
        self._console.print(
            f"[{self._number}/{self._cells}] {cell}: {text}", markup=False, highlight=False, soft_wrap=True
        )


class _Clock:
    """Iterations per second over the cell so far, and when a plain line is due."""

    def __init__(self) -> None:
        self._began = self._last = time.monotonic()

    def rate(self, iterations: int) -> float:
        return iterations / max(time.monotonic() - self._began, 1e-9)

    def is_time(self) -> bool:
        now = time.monotonic()
        due = now - self._last >= PLAIN_PERIOD_SECONDS
        if due:
            self._last = now
        return due


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
