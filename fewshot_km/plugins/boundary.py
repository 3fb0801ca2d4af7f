"""Guard around code of plug-ins: however it ends, the program goes on and says so, and the user can still interrupt."""

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
    """Replace every exception that leaves the block by what `say` makes of it, SystemExit and KeyboardInterrupt too.

    Two kinds pass unchanged: interrupts by the user, and errors of types `passes` whose class is ours or Python's own.
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
    """Check whether code of a plug-in was running when the error was raised."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(is_in_plugin(Path(frame.f_code.co_filename).resolve()) for frame, _ in frames)


def _raised_by(error: BaseException) -> str:
    """Name of the module whose code raised the error."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return str(frame.f_globals.get("__name__", ""))


class _Interrupts:
    """Tells the keyboard's interrupt from a KeyboardInterrupt that the guarded code raises by itself."""

    def __init__(self) -> None:
        self._heard = False
        self._before: Any = None
        self._is_unknown = False

    def __enter__(self) -> "_Interrupts":
        if threading.current_thread() is threading.main_thread():
            handler = signal.getsignal(signal.SIGINT)
            if handler is signal.default_int_handler:
                self._before = signal.signal(signal.SIGINT, self._hear)
            else:  # the handler of a run raises StoppedRun; a handler of others may raise anything
                ours = str(getattr(handler, "__module__", "")).split(".")[0] == PACKAGE
                self._is_unknown = callable(handler) and not ours
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def are_meant_by(self, error: BaseException) -> bool:
        """Check whether the error is the user's interrupt."""
        heard = self._heard or self._is_unknown
        if isinstance(error, StoppedRun):
            return _raised_by(error).split(".")[0] == PACKAGE
        return isinstance(error, KeyboardInterrupt) and heard

    def _hear(self, _: int, __: FrameType | None) -> None:
        self._heard = True
        raise KeyboardInterrupt
