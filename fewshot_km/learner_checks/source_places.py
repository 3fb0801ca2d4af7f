"""Where in a learner's source something is: file, line, class and method."""

import inspect
import os
import traceback
from pathlib import Path

import torch

PACKAGE = Path(__file__).resolve().parents[1]
_LIBRARIES = (PACKAGE, Path(torch.__file__).resolve().parent)


def place_of_method(learner: object, method: str) -> str:
    """ "my_idea.py:12 (MyIdea.adapt)"; of a method that the class inherits from the suite, the place of the class."""
    kind = type(learner)
    owner = next((k for k in kind.__mro__ if method in vars(k)), kind)
    if _is_ours(owner) and not _is_ours(kind):
        return f"{_line_of(kind)} ({kind.__qualname__}, which inherits {method} from {owner.__name__})"
    return f"{_line_of(vars(owner).get(method, owner))} ({owner.__qualname__}.{method})"


def place_of_class(learner: object) -> str:
    """ "my_idea.py:12 (MyIdea)"."""
    return f"{_line_of(type(learner))} ({type(learner).__qualname__})"


def place_of_error(error: BaseException) -> str:
    """The last line of code outside the suite and torch that ran before the error; "" where there is none."""
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        file = Path(frame.f_code.co_filename)
        if file.is_file() and not any(file.resolve().is_relative_to(library) for library in _LIBRARIES):
            return f"{_shown(file)}:{line} ({frame.f_code.co_qualname})"
    return ""


def _is_ours(kind: type) -> bool:
    return kind.__module__.split(".")[0] == PACKAGE.name


def _line_of(code: object) -> str:
    code = code.fget if isinstance(code, property) else code
    code = inspect.unwrap(code) if callable(code) else code
    try:
        file = inspect.getsourcefile(code)  # type: ignore[arg-type]
        _, line = inspect.getsourcelines(code)  # type: ignore[arg-type]
    except (TypeError, OSError):
        return f"{getattr(code, '__module__', '?')} (source not found)"
    return f"{_shown(Path(file or '?'))}:{line}"


def _shown(file: Path) -> str:
    """Relative to the working directory, where it lies below it."""
    return os.path.relpath(file) if file.resolve().is_relative_to(Path.cwd()) else str(file)
