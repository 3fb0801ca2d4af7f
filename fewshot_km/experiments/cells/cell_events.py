"""What is told of cells while they run, and how one cell tells it."""

from collections.abc import Mapping
from typing import Any, Protocol

from fewshot_km.accel.choice import Choice
from fewshot_km.experiments.cells.run_cell import Start
from fewshot_km.experiments.events.tensorboard_log import TensorBoardLog
from fewshot_km.experiments.settings.grid import Cell
from fewshot_km.experiments.store.unfinished import UnfinishedCell
from fewshot_km.training.history import HistoryRow, Progress


class Display(Protocol):
    """What is told to the user while cells run."""

    def cell_started(self, cell: Cell, iteration: int) -> None:
        """A cell begins, or goes on after an iteration."""

    def warned(self, cell: Cell, text: str) -> None:
        """Something that the user should know, and that does not stop the cell."""

    def compiling(self, cell: Cell, seconds: float) -> None:
        """A training step is being compiled, which may take so long."""

    def chosen(self, cell: Cell, purpose: str, choice: Choice) -> None:
        """Another backend than the rule's is used."""

    def trained(self, cell: Cell, progress: Progress) -> None:
        """An iteration of meta-training is done."""

    def tested(self, cell: Cell, episodes: int) -> None:
        """So many more test episodes are done."""

    def cell_finished(self, cell: Cell, summary: Mapping[str, Any]) -> None:
        """A cell is stored; `summary` is the `results` part of its record."""

    def cell_failed(self, cell: Cell, reason: str) -> None:
        """A cell stopped without a result."""

    def cell_lost(self, cell: Cell, reason: str) -> None:
        """A process of a cell was lost; another one goes on with it."""

    def cell_skipped(self, cell: Cell, reason: str) -> None:
        """A cell is not run here after all: another run has it, or has finished it meanwhile."""


class CellVoice:
    """A cell's listener: passes on what it hears, with the cell's name, and writes the history."""

    def __init__(
        self,
        cell: Cell,
        display: Display,
        unfinished: UnfinishedCell,
        start: Start | None,
        tensorboard: TensorBoardLog | None,
    ) -> None:
        self._cell = cell
        self._tensorboard = tensorboard
        self._display = display
        self._unfinished = unfinished
        self._history = list(start.state.history) if start else []

    def compiling(self, seconds: float) -> None:
        """A training step is being compiled, which may take so long."""
        self._display.compiling(self._cell, seconds)

    def chosen(self, purpose: str, choice: Choice) -> None:
        """Another backend than the rule's is used."""
        self._display.chosen(self._cell, purpose, choice)

    def trained(self, progress: Progress) -> None:
        """An iteration of meta-training is done."""
        self._display.trained(self._cell, progress)
        if self._tensorboard:
            self._tensorboard.trained(progress)

    def validated(self, row: HistoryRow) -> None:
        """A validation is done."""
        self._history.append(row)
        self._unfinished.write_history(self._history)
        if self._tensorboard:
            self._tensorboard.validated(row)

    def tested(self, episodes: int) -> None:
        """So many more test episodes are done."""
        self._display.tested(self._cell, episodes)

    def close(self) -> None:
        """The cell has ended, somehow."""
        if self._tensorboard:
            self._tensorboard.close()
