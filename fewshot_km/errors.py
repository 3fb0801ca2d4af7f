"""Errors that a user can mend: the command line prints them as one line and exits with status 2."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

MOST_PROBLEMS = 20  # told at once: more would push the first ones off a screen


class FewshotError(Exception):
    """Something outside the program is wrong; the message says what, where, and how to mend it."""

    @property
    def problems(self) -> list[str]:
        """A line for each thing that is wrong."""
        return [str(self)]


class ConfigError(FewshotError):
    """A grid file, an option or a combination of them cannot be run."""


class ProblemsError(ConfigError):
    """Several problems of one thing, told at once: `heading` says how many, `problems` has a line for each."""

    def __init__(self, where: str, problems: Iterable[str]) -> None:
        ordered = sorted(problems, key=len)
        self.heading = f"{where}: {len(ordered)} mistakes"
        more = [f"and {len(ordered) - MOST_PROBLEMS:,} more"] if len(ordered) > MOST_PROBLEMS else []
        self._problems = ordered[:MOST_PROBLEMS] + more
        super().__init__(f"{self.heading}: {'; '.join(self._problems)}")

    @property
    def problems(self) -> list[str]:
        """The shortest first."""
        return self._problems


def raise_problems(where: str, problems: Sequence[str]) -> NoReturn:
    """Raise ConfigError for one problem, ProblemsError for several."""
    if len(problems) == 1:
        raise ConfigError(f"{where}: {problems[0]}")
    raise ProblemsError(where, problems)


class DataError(FewshotError):
    """Images are missing, damaged, or too few for the task that was asked for."""


class UnknownNameError(FewshotError):
    """A name that no registry holds."""


class PluginError(FewshotError):
    """A user's own file cannot be loaded, or what it registers is not usable."""


class CellError(FewshotError):
    """A cell can have no result; the others of its grid can."""


class DivergenceError(CellError):
    """Meta-training or testing produced what is not a finite number."""


class ContractError(CellError):
    """A learner did, or returned, what a learner must not."""


class StoppedRun(KeyboardInterrupt):
    """The run is to end now: not an error, so that nothing that catches errors catches it.

    `status` is the exit status of the process, `why` what is told.
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


def message_of(error: BaseException) -> str:
    """What an error says, on one line, whatever its `__str__` does."""
    try:
        return " ".join(str(error).split())
    except StoppedRun:
        raise
    except BaseException as another:
        return f"(its message cannot be read: {type(another).__name__})"


def describe_error(error: BaseException, source: Path | None = None) -> str:
    """Type, message and line of an error as one line; the line is the last one in `source`, if any was run there."""
    text = f"{type(error).__name__}: {message_of(error)}"
    if source is None:
        return text
    line = error.lineno if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename) == source:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"line {line}: {text}" if line else text
