"""The events of a run: what happens to a cell, and who hears of it.

Subscribers are callables that take a cell and an event: the terminal's bars, JSON lines, TensorBoard, the history file,
and what passes events on from a worker to the process that the user started.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fewshot_km.experiments.settings.grid import Cell
from fewshot_km.training.history import IterationDone, Validated


@dataclass(frozen=True)
class CellStarted:
    """A cell begins, or goes on after an iteration above 0."""

    iteration: int


@dataclass(frozen=True)
class Warned:
    """The user should know something that does not stop the cell."""

    text: str


@dataclass(frozen=True)
class Compiling:
    """A training step is being compiled, which takes these seconds at most."""

    seconds: float


@dataclass(frozen=True)
class BackendChosen:
    """Training or testing (`purpose`) uses another backend than the rule's, for the reason `why`."""

    purpose: str
    backend: str
    why: str


@dataclass(frozen=True)
class EpisodesTested:
    """So many more test episodes are done."""

    episodes: int


@dataclass(frozen=True)
class CellFinished:
    """A cell is stored; `summary` is the `results` part of its record."""

    summary: Mapping[str, Any]


@dataclass(frozen=True)
class CellFailed:
    """A cell stopped without a result."""

    reason: str


@dataclass(frozen=True)
class ProcessLost:
    """A process of a cell was lost; another one goes on with the cell."""

    reason: str


@dataclass(frozen=True)
class CellSkipped:
    """Another run has the cell, or has finished it meanwhile."""

    reason: str


Event = (
    CellStarted
    | Warned
    | Compiling
    | BackendChosen
    | IterationDone
    | Validated
    | EpisodesTested
    | CellFinished
    | CellFailed
    | ProcessLost
    | CellSkipped
)
Emit = Callable[[Event], None]
Subscriber = Callable[[Cell, Event], None]


def to_nobody(_: Event) -> None:
    """Emit to no subscriber, as the ranks do that do not speak to the user."""
