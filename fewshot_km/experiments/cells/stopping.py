"""Leaving early: an interrupt, a request to terminate, a time budget; at a moment from which the next run can go on."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from fewshot_km.errors import StoppedRun

__all__ = ["OUT_OF_TIME", "SIGNALS", "Stop", "StoppedRun"]

SIGNALS = (signal.SIGINT, signal.SIGTERM)
OUT_OF_TIME = 3  # exit status: nothing went wrong, but cells are left


class Stop:
    """Knows whether the run is to end; use as a context manager, which listens to SIGINT and SIGTERM.

    What runs for long asks with `check` at moments where nothing is lost, inside `asking()`; elsewhere the first signal
    raises StoppedRun where it meets the program. A second signal ends the process at once.
    """

    def __init__(self, budget_seconds: float | None = None, budget_name: str = "", silent: bool = False) -> None:
        self._silent = silent
        self._until = None if budget_seconds is None else time.monotonic() + budget_seconds
        self._budget = budget_name
        self._signal: int | None = None
        self._asking = 0
        self._before: dict[signal.Signals, Any] = {}
        self._listens = False
        self._ended: StoppedRun | None = None

    def __enter__(self) -> "Stop":
        if threading.current_thread() is threading.main_thread():
            self._listens = True
            heard = (number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN)
            self._before = {number: signal.signal(number, self._hear) for number in heard}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def is_asked_for(self, error: BaseException) -> bool:
        """Whether an error is the end of the run that the user or the system asked for, and no plug-in's own.

        While this listens, an interrupt from outside is a StoppedRun that this has raised.
        """
        return error is self._ended or (isinstance(error, KeyboardInterrupt) and not self._listens)

    def check(self) -> None:
        """Raise StoppedRun where the run is to end."""
        if self._signal is not None:
            self._ended = StoppedRun(128 + self._signal, _NAMES[signal.Signals(self._signal)])
            raise self._ended
        if self._until is not None and time.monotonic() > self._until:
            self._ended = StoppedRun(OUT_OF_TIME, f"the time budget of {self._budget} is used up")
            raise self._ended

    @contextmanager
    def asking(self) -> Iterator[None]:
        """While this lasts, signals wait for the next `check`."""
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1

    def _hear(self, number: int, _: FrameType | None) -> None:
        if self._signal is not None:
            os._exit(128 + number)
        self._signal = number
        if not self._silent:
            text = f"{_NAMES[signal.Signals(number)]}: keeping what is unfinished; once more leaves at once\n"
            os.write(2, text.encode())  # standard error, whatever else is being written there
        if not self._asking:
            self.check()


_NAMES = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}
