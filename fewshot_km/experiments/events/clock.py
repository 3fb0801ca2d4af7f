"""How fast a cell is, and when a line about it is due."""

import time

PERIOD_SECONDS = 10.0  # between lines where there is no terminal: often enough to see life, short logs


class Clock:
    """The clock of a cell that begins, or goes on after some iterations."""

    def __init__(self, iterations_before: int) -> None:
        self._before = iterations_before
        self._began = self._last = time.monotonic()

    def rate(self, iterations: int) -> float:
        """Iterations per second since the clock was made."""
        return max(iterations - self._before, 1) / max(time.monotonic() - self._began, 1e-9)

    def is_time(self) -> bool:
        """Whether a period has passed since this last was the case."""
        now = time.monotonic()
        due = now - self._last >= PERIOD_SECONDS
        if due:
            self._last = now
        return due


def duration(seconds: float) -> str:
    """Write a time as a person says it: 3 h 05 min."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
