"""Errors that a user can mend: the command line prints them as one line and exits with status 2."""


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
