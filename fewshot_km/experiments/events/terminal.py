"""Progress of a running grid for a person: live bars on a terminal, plain lines elsewhere."""

from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from fewshot_km.experiments.events.clock import Clock, duration
from fewshot_km.experiments.events.event import (
    BackendChosen,
    CellFailed,
    CellFinished,
    CellSkipped,
    CellStarted,
    Compiling,
    EpisodesTested,
    Event,
    ProcessLost,
    Warned,
)
from fewshot_km.experiments.settings.grid import Cell
from fewshot_km.text import counted, one_line
from fewshot_km.training.history import IterationDone


@dataclass
class _Running:
    """A cell on its way: its number among those of the run, its bar, its clock, the part of its iterations done."""

    number: int
    bar: TaskID
    clock: Clock
    part: float = 0.0
    testing: bool = False


class TerminalDisplay:
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

    def __enter__(self) -> "TerminalDisplay":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def __call__(self, cell: Cell, event: Event) -> None:
        """Show the event: on the cell's bar, or as a line that stays."""
        match event:
            case CellStarted(iteration):
                self._start(cell, iteration)
            case Warned(text):
                self._say(cell, text)
            case Compiling(seconds):
                self._say(cell, f"compiling the training step, up to {duration(seconds)}; it is kept for later runs")
            case BackendChosen(purpose, backend, why):
                self._say(cell, f"{purpose} by '{backend}': {why}")
            case IterationDone():
                self._advance_training(cell, event)
            case EpisodesTested(episodes):
                self._advance_test(cell, episodes)
            case CellFinished(summary):
                self._say(
                    cell,
                    f"test accuracy {100 * summary['test_accuracy']:.2f} % over "
                    f"{counted(summary['test_episodes'], 'episode')} "
                    f"(best validation at iteration {summary['best_iteration']}; "
                    f"trained {duration(summary['train_seconds'])}, tested {duration(summary['test_seconds'])})",
                )
                self._close(cell)
            case CellFailed(reason):
                self._say(cell, f"FAILED: {reason}")
                self._close(cell)
            case ProcessLost(reason):
                self._say(cell, reason)
                self._remove_bar(cell)
            case CellSkipped(reason):
                self._say(cell, f"left out: {reason}")
                self._close(cell)

    def _start(self, cell: Cell, iteration: int) -> None:
        number = self._numbers.setdefault(str(cell), len(self._numbers) + 1)
        total = cell.config.outer.iterations
        bar = self._bars.add_task(str(cell), total=total, completed=iteration, detail="", count=f"{iteration}/{total}")
        self._running[str(cell)] = _Running(number, bar, Clock(iteration), iteration / total)
        if iteration:
            self._say(cell, f"goes on after iteration {iteration} of {total}")
        elif not self._console.is_terminal:
            self._say(cell, f"meta-training, {counted(total, 'iteration')}")

    def _advance_training(self, cell: Cell, done: IterationDone) -> None:
        running, outer = self._running[str(cell)], cell.config.outer
        rate = running.clock.rate(done.iteration)
        detail = f"loss {done.loss:.3f}  accuracy {done.accuracy:.3f}"
        if done.val_accuracy is not None:
            detail += f"  validation {done.val_accuracy:.3f}"
        detail += f"  {rate * outer.meta_batch:.0f} episodes/s"
        count = f"{done.iteration}/{outer.iterations}"
        self._bars.update(running.bar, completed=done.iteration, detail=detail, count=count)
        running.part = done.iteration / outer.iterations
        self._show_overall()
        if not self._console.is_terminal and running.clock.is_time():
            left = (outer.iterations - done.iteration) / rate
            self._say(cell, f"{count}  {detail}  {duration(left)} left")

    def _advance_test(self, cell: Cell, episodes: int) -> None:
        running, total = self._running[str(cell)], cell.config.test.episodes
        if not running.testing:
            running.testing = True
            self._bars.reset(running.bar, total=total, description=f"{cell} test", detail="test episodes", count="")
        self._bars.advance(running.bar, episodes)
        done = next(task.completed for task in self._bars.tasks if task.id == running.bar)
        self._bars.update(running.bar, count=f"{done:.0f}/{total}")

    def _close(self, cell: Cell) -> None:
        self._remove_bar(cell)
        self._ended += 1
        self._show_overall()

    def _remove_bar(self, cell: Cell) -> None:
        if running := self._running.pop(str(cell), None):
            self._bars.remove_task(running.bar)

    def _show_overall(self) -> None:
        done = self._ended + sum(running.part for running in self._running.values())
        self._bars.update(self._overall, completed=done, count=f"{self._ended}/{self._cells}")

    def _say(self, cell: Cell, text: str) -> None:
        running = self._running.get(str(cell))
        number = f"[{running.number}/{self._cells}] " if running else ""
        self._console.print(f"{number}{cell}: {one_line(text)}", markup=False, highlight=False, soft_wrap=True)
