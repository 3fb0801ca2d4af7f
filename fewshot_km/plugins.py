"""Learners, networks and data sets from outside the package: a user's file, or an installed package's entry points."""

import importlib.util
import sys
from importlib.metadata import entry_points
from pathlib import Path

from fewshot_km.errors import FewshotError, PluginError

ENTRY_POINT_GROUPS = ("fewshot_km.learners", "fewshot_km.networks", "fewshot_km.datasets")


def load_plugin(path: Path) -> None:
    """Run a Python file that registers things; raises PluginError that names file and line where it cannot be run."""
    if path.suffix != ".py" or not path.is_file():
        raise PluginError(f"--plugin {path}: there is no such Python file")
    name = f"fewshot_km_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None  # a .py file always has a loader
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except FewshotError:
        raise
    except (Exception, SystemExit) as error:  # whatever the user's file raises is theirs to see, as one line
        raise PluginError(f"--plugin {path}{_line(error, path)}: {type(error).__name__}: {error}") from error


def load_entry_points() -> None:
    """Import what installed packages offer under our entry-point groups; raises PluginError that names the package."""
    for group in ENTRY_POINT_GROUPS:
        for point in entry_points(group=group):
            try:
                point.load()
            except FewshotError:
                raise
            except Exception as error:
                package = point.dist.name if point.dist else "?"
                raise PluginError(
                    f"the installed package '{package}' offers '{point.name}' ({group}) but it cannot be loaded: "
                    f"{type(error).__name__}: {error}; repair or uninstall it"
                ) from error


def _line(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError) and error.lineno:
        return f", line {error.lineno}"
    trace, line = error.__traceback__, None
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename) == path.resolve():
            line = trace.tb_lineno
        trace = trace.tb_next
    return f", line {line}" if line else ""
