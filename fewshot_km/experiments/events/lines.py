"""Events as JSON lines, and what is printed of them where the user wants quiet."""

import json
import sys
import time
from dataclasses import asdict
from typing import Any, TextIO

from fewshot_km.experiments.events.clock import Clock
from fewshot_km.experiments.events.event import (
    BackendChosen,
    CellFailed,
    CellFinished,
    CellSkipped,
    CellStarted,
    Compiling,
    Event,
    ProcessLost,
    Warned,
)
from fewshot_km.experiments.settings.grid import Cell
from fewshot_km.text import one_line
from fewshot_km.training.history import IterationDone


def print_problems(cell: Cell, event: Event) -> None:
    """Print a line on standard error for what went wrong, and nothing else."""
    match event:
        case Warned(text) | ProcessLost(text):
            pass
        case CellFailed(reason):
            text = f"FAILED: {reason}"
        case _:
            return
    print(f"{cell}: {one_line(text)}", file=sys.stderr, flush=True)


class JsonLines:
    """Writes a JSON object a line for each event: {"event": ..., "cell": ..., "seconds": since the start, ...}.

    Of iterations one is written every ten seconds, of episodes and validations none.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._began = time.monotonic()
        self._clocks: dict[str, Clock] = {}

    def __call__(self, cell: Cell, event: Event) -> None:
        """Write the event."""
        match event:
            case CellStarted(iteration):
                self._clocks[str(cell)] = Clock(iteration)
                self._write("started", cell, iteration=iteration, iterations=cell.config.outer.iterations)
            case Warned(text):
                self._write("warning", cell, text=one_line(text))
            case Compiling(seconds):
                self._write("compiling", cell, at_most_seconds=seconds)
            case BackendChosen():
                self._write("chosen", cell, **asdict(event))
            case IterationDone():
                if self._clocks[str(cell)].is_time():
                    self._write("trained", cell, **asdict(event))
            case CellFinished(summary):
                self._write("finished", cell, **summary)
            case CellFailed(reason):
                self._write("failed", cell, reason=one_line(reason))
            case ProcessLost(reason):
                self._write("lost", cell, reason=one_line(reason))
            case CellSkipped(reason):
                self._write("skipped", cell, reason=reason)

    def _write(self, event: str, cell: Cell, **facts: Any) -> None:
        seconds = round(time.monotonic() - self._began, 1)
        line = {"event": event, "cell": str(cell), "seconds": seconds} | facts
        print(json.dumps(line), file=self._file, flush=True)
