"""Errors that a user can mend: the command line prints them as one line and exits with status 2."""

from pathlib import Path


class FewshotError(Exception):
    """Something outside the program is wrong; the message says what, where, and how to mend it."""


class ConfigError(FewshotError):
    """A grid file, an option or a combination of them cannot be run."""


class DataError(FewshotError):
    """Images are missing, damaged, or too few for the task that was asked for."""


class UnknownNameError(FewshotError):
    """A name that no registry holds."""


class PluginError(FewshotError):
    """A user's own file cannot be loaded, or what it registers is not usable."""


class DivergenceError(FewshotError):
    """Meta-training produced a loss that is not a finite number."""


def describe_error(error: BaseException, source: Path | None = None) -> str:
    """Type, message and line of an error as one line; the line is the last one in `source`, if any was run there."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    if source is None:
        return text
    line = error.lineno if isinstance(error, SyntaxError) else None
    trace = error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename) == source:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"line {line}: {text}" if line else text
