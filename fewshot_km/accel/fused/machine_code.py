"""Loops over arrays compiled to machine code, where torch's operations take too many passes over memory."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba

Loop = TypeVar("Loop", bound=Callable[..., Any])

# numba keeps machine code until the loop's own file changes; the loops here call those of other files
_SOURCES = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*_loops.py"))))


def compiled(loop: Loop) -> Loop:
    """Machine code from the first call on, for seconds once: it is kept beside its file or in the user's cache."""
    options: dict[str, Any] = {"error_model": "numpy"}  # division by zero is nan or inf, as in torch
    loop.__qualname__ += f"_{_SOURCES.hexdigest()[:8]}"  # part of the name under which it is kept
    try:
        machine_code: Loop = numba.njit(cache=True, **options)(loop)
    except RuntimeError:  # neither can be written
        machine_code = numba.njit(**options)(loop)
    return machine_code
