"""How much memory there is, and an allocator that keeps what the next iteration needs again."""

import ctypes
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

import torch

CONTROL_GROUP = Path("/sys/fs/cgroup")  # as a container sees its own
RECLAIMABLE = ("active_file", "inactive_file", "slab_reclaimable")  # what the kernel gives up under pressure
_MALLOC_TRIM_THRESHOLD, _MALLOC_MMAP_MAX = -1, -4  # from malloc.h of the GNU C library


@cache
def keep_freed_memory() -> bool:
    """Tell the C library's malloc to keep freed memory in this process; says whether it could.

    By default it gives every large block back to the system at once, and each use of a new one faults its pages in
    again: for the activations of a meta-learning step that costs as much time as the arithmetic between. Only the GNU
    C library (Linux) takes the setting; the peak of a process does not change, but it stays until the process ends.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return False
    return bool(mallopt(_MALLOC_MMAP_MAX, 0) and mallopt(_MALLOC_TRIM_THRESHOLD, -1))


def free_bytes(device: torch.device) -> int | None:
    """Bytes that can still be used on the device: of a GPU its own, else of this machine or its container, if known."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    known = [_available_memory(), _left_in_container()]
    return min((value for value in known if value is not None), default=None)


def peak_bytes() -> int | None:
    """The most memory that this process has held, as the system counts it; None where it does not say."""
    try:
        return _status("VmHWM")  # what getrusage says includes the process that started this one
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def give_back_freed_memory() -> None:
    """Give the system what was kept of freed memory, where the C library can."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def bytes_taken(run: Callable[[], object]) -> int:
    """Measure the peak memory of `run` in bytes beyond what this process held before, freed memory given back.

    Where the system cannot forget an earlier peak (all but Linux), what stays below that peak counts as nothing.
    """
    give_back_freed_memory()
    try:
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
    except OSError:
        before = peak_bytes() or 0
    run()
    return max(0, (peak_bytes() or 0) - before)


def _status(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"no {key} in /proc/self/status")


def _available_memory() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    return None


def _left_in_container() -> int | None:
    """Bytes that this process's control group (version 2) may still take, with the cached files it would give up."""
    try:
        used = int((CONTROL_GROUP / "memory.current").read_text())
        counts = dict(line.split() for line in (CONTROL_GROUP / "memory.stat").read_text().splitlines())
        used -= sum(int(counts.get(name, 0)) for name in RECLAIMABLE)
        return int((CONTROL_GROUP / "memory.max").read_text()) - used
    except (OSError, ValueError):  # none, or "max"
        return None
