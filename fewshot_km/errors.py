"""Errors that a user can mend. The command line prints them as one line and exits with status 2."""

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
    """A grid file, an option, or a combination of them is wrong."""


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
    """Images are missing, damaged, or too few for the task."""


class UnknownNameError(FewshotError):
    """A name is in no registry."""


class PluginError(FewshotError):
    """A plug-in cannot be loaded, or what it registers cannot be used."""


class CellError(FewshotError):
    """One cell can have no result; the other cells of its grid can."""


class DivergenceError(CellError):
    """Meta-training or testing produced a number that is not finite."""


class ContractError(CellError):
    """A learner broke the learner contract."""


class StoppedRun(KeyboardInterrupt):
    """The run must end now. This is no Exception, so that code that catches errors does not catch it.

    status  exit status of the process
    why     what the user is told
    """

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


def message_of(error: BaseException) -> str:
    """Return the message of an error on one line, whatever its `__str__` does."""
    try:
        return " ".join(str(error).split())
    except StoppedRun:
        raise
    except BaseException as another:
        return f"(its message cannot be read: {type(another).__name__})"


def describe_error(error: BaseException, source: Path | None = None) -> str:
    """Return type and message of an error on one line, with the last line number in the file `source` if it ran."""
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
