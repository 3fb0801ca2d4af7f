"""Decide when the state of a running cell is kept."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fewshot_km.experiments.cells.cell_state import CellState
from fewshot_km.experiments.cells.stopping import Stop, StoppedRun
from fewshot_km.experiments.store.unfinished import UnfinishedCell


class Checkpoints:
    """Keeps a cell's state every so many seconds, and when the run is to end.

    `how` gives facts that are kept with it: they change where memory ends.
    """

    def __init__(
        self, unfinished: UnfinishedCell, stop: Stop, period_seconds: float, how: Callable[[], Mapping[str, Any]]
    ) -> None:
        self._unfinished = unfinished
        self._stop = stop
        self._period = period_seconds
        self._how = how
        self._last = -float("inf")  # the first state is kept at once: with it, how the cell is run
        self._state: Callable[[], CellState] | None = None

    @contextmanager
    def keeping(self) -> Iterator[None]:
        """While this lasts, signals wait for the next `pause` or `check`."""
        with self._stop.asking():
            try:
                yield
            except StoppedRun:
                self.save()
                raise

    def pause(self, state: Callable[[], CellState]) -> None:
        """Keep the state, if it is time to; raises StoppedRun."""
        self._state = state
        if time.monotonic() - self._last >= self._period:
            self.save()
        self._stop.check()

    def check(self, *_: object) -> None:
        """Raise StoppedRun where the run is to end."""
        self._stop.check()

    def keep(self, state: CellState) -> None:
        """Keep a state now."""
        self._state = lambda: state
        self.save()

    def save(self) -> None:
        """Keep the state of the last pause, unless it is not finite, which no training comes back from."""
        if self._state is None:
            return
        tensors, facts = self._state().pack()
        if all(bool(value.isfinite().all()) for value in tensors.values()):
            self._unfinished.save(tensors, {**facts, **self._how()})
        self._last = time.monotonic()
