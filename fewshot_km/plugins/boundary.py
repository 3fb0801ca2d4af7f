"""Around code of plug-ins: whichever way it ends, the program goes on to say so, and the user can still interrupt."""

import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from fewshot_km.errors import FewshotError, StoppedRun
from fewshot_km.plugins.sources import PACKAGE, is_in_plugin


@contextmanager
def plugin_code(
    say: Callable[[BaseException], FewshotError], passes: tuple[type[Exception], ...] = (FewshotError,)
) -> Iterator[None]:
    """Turn whatever leaves the block, SystemExit and a plug-in's KeyboardInterrupt too, into what `say` makes of it.

    Interrupts by the user pass, and errors of the kinds `passes` that are of our own or Python's classes.
    """
    with _Interrupts() as interrupts:
        try:
            yield
        except BaseException as error:
            is_known = type(error).__module__.split(".")[0] in (PACKAGE, "builtins")
            if interrupts.are_meant_by(error) or (isinstance(error, passes) and is_known):
                raise
            raise say(error) from error


def was_raised_in_plugin(error: BaseException) -> bool:
    """Whether code of a plug-in ran when an error was raised, since the call where it was caught."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(is_in_plugin(Path(frame.f_code.co_filename).resolve()) for frame, _ in frames)


def _raised_by(error: BaseException) -> str:
    """The module whose code raised an error."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__", ""))


class _Interrupts:
    """Knows the keyboard's interrupt from a KeyboardInterrupt that the code within raises."""

    def __init__(self) -> None:
        self._heard = False
        self._before: Any = None
        self._is_unknown = False

    def __enter__(self) -> "_Interrupts":
        if threading.current_thread() is threading.main_thread():
            handler = signal.getsignal(signal.SIGINT)
            if handler is signal.default_int_handler:
                self._before = signal.signal(signal.SIGINT, self._hear)
            else:  # that of a run raises StoppedRun; another one's may raise anything
                ours = str(getattr(handler, "__module__", "")).split(".")[0] == PACKAGE
                self._is_unknown = callable(handler) and not ours
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def are_meant_by(self, error: BaseException) -> bool:
        """Whether an error is the user's interrupt."""
        heard = self._heard or self._is_unknown
        if isinstance(error, StoppedRun):
            return _raised_by(error).split(".")[0] == PACKAGE
        return isinstance(error, KeyboardInterrupt) and heard

    def _hear(self, _: int, __: FrameType | None) -> None:
        self._heard = True
        raise KeyboardInterrupt
