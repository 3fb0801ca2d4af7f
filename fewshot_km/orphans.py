"""Processes that end with the one that started them, even while they import: this imports nothing that takes time."""

import os
import sys
import threading

ENDS_WITH_STDIN = "FEWSHOT_KM_ENDS_WITH_STDIN"
"""Set in the environment of a process whose standard input is a pipe that the starting process holds open."""


def end_with_starter() -> None:
    """End this process as soon as its starter has ended, however that happens; does nothing in any other process."""
    if os.environ.get(ENDS_WITH_STDIN):
        threading.Thread(target=_wait_and_end, daemon=True).start()


def _wait_and_end() -> None:
    os.read(sys.stdin.fileno(), 1)  # nothing is ever written: it returns when the other end is closed
    os._exit(1)
