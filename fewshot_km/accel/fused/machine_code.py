"""Loops over arrays compiled to machine code, where torch's operations take too many passes over memory."""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Loop = TypeVar("Loop", bound=Callable[..., Any])


def compiled(loop: Loop) -> Loop:
    """Machine code from the first call on, for seconds once: it is kept beside its file or in the user's cache."""
    options: dict[str, Any] = {"error_model": "numpy"}  # division by zero is nan or inf, as in torch
    try:
        machine_code: Loop = numba.njit(cache=True, **options)(loop)
    except RuntimeError:  # neither can be written
        machine_code = numba.njit(**options)(loop)
    return machine_code
