"""What a pickle of arrays and plain containers may name, each name as a function of ours that checks its arguments."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

SCALARS = frozenset({type(None), bool, int, float, str, bytes})
DTYPE_NAME = re.compile(r"[biufc]\d{1,2}|[SU]\d{1,6}|O[48]")  # neither records (V) nor dates (M, m)


class RefusedError(Exception):
    """The pickle asks for something that is neither an array nor a plain container; the text names it."""


@dataclass(frozen=True)
class Global:
    """What a pickle gets for a name: a function of ours, which checks its arguments."""

    name: str
    call: Callable[..., object]


@dataclass
class Unfinished:
    """An array or dtype whose state is still to come; a later reference to it means what that state made of it."""

    finish: Callable[[object], object]
    value: object = None


def _is_shape(shape: object) -> TypeGuard[tuple[int, ...]]:
    """Within numpy's own bounds, so that the product of its numbers stays small."""
    return isinstance(shape, tuple) and len(shape) <= 64 and all(isinstance(n, int) and 0 <= n < 2**63 for n in shape)


def _make_array(raw: object, dtype: object, shape: object, order: object) -> Array:
    if not isinstance(dtype, np.dtype) or dtype.hasobject or not _is_shape(shape) or order not in ("C", "F"):
        raise ValueError("an array without a proper type, shape or order")
    raw = raw.encode("latin1") if isinstance(raw, str) else raw  # Python 2's bytes are strings
    if not isinstance(raw, bytes) or len(raw) != math.prod(shape) * dtype.itemsize:
        raise ValueError("an array whose bytes do not fill its shape")
    array: Array = np.ndarray(shape, dtype, raw, order="F" if order == "F" else "C")
    if dtype.kind == "U":
        array.tolist()  # not every four bytes are a character: fail here, not where someone looks at them
    return array


def _make_object_array(items: list[object], shape: object) -> Array:
    if not _is_shape(shape) or len(items) != math.prod(shape):
        raise ValueError("an array whose objects do not fill its shape")
    if any(isinstance(item, np.ndarray) and item.dtype.hasobject for item in items):
        raise ValueError("an array of objects in another")  # numpy frees these by recursion in C, however deep
    array: Array = np.fromiter(items, dtype=object, count=len(items)).reshape(shape)
    array.flags.writeable = False
    return array


def _reconstruct(*arguments: object) -> Unfinished:
    match arguments:
        case (Global(name="numpy.ndarray"), (0,), "b" | b"b"):
            return Unfinished(_finish_array)
    raise ValueError("an array that does not start out empty")


def _finish_array(state: object) -> Array:
    match state:
        case (1, shape, np.dtype(kind="O"), int(), list(items)):
            return _make_object_array(items, shape)
        case (1, shape, dtype, int(fortran), raw):
            return _make_array(raw, dtype, shape, "F" if fortran else "C")
    raise ValueError("an array without a proper state")


def _from_buffer(raw: object, dtype: object, shape: object, order: object, axes: object = None) -> Array:
    if order == "K" and _is_shape(axes):
        return _make_array(raw, dtype, shape, "C").transpose(axes)
    return _make_array(raw, dtype, shape, order)


def _make_scalar(dtype: object, raw: object) -> object:
    return _make_array(raw, dtype, (), "C")[()]


def _make_dtype(name: object, *_flags: object) -> Unfinished:
    if not isinstance(name, str):
        raise ValueError("a dtype without a name")
    if not DTYPE_NAME.fullmatch(name):
        raise RefusedError(f"an array of numpy.dtype({name!r})")
    dtype = np.dtype(name)

    def finish(state: object) -> np.dtype[Any]:
        match state:
            case (3, "<" | ">" | "=" | "|" as byte_order, None, None, None, size, int(), int()):
                if size in (-1, dtype.itemsize):
                    return dtype.newbyteorder(byte_order)
        raise RefusedError(f"an array of numpy.dtype({name!r}) with fields or a size of its own")

    return Unfinished(finish)


def _refuse_call(*_arguments: object) -> object:
    raise RefusedError("a call of numpy.ndarray")


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise RefusedError("_codecs.encode to anything but latin1")
    return text.encode(encoding)


def _make_dict(pairs: Any = ()) -> dict[object, object]:
    return dict(zip(as_keys([key for key, _ in pairs]), [value for _, value in pairs], strict=True))


def as_keys(items: object) -> list[object] | tuple[object, ...]:
    """Check that keys or members are scalars or flat tuples: hashing deeper ones overflows C's stack or never ends."""
    if not isinstance(items, list | tuple):
        raise TypeError(f"members from {type(items).__name__}")
    for item in items:
        for part in item if isinstance(item, tuple) else (item,):
            if type(part) not in SCALARS and not isinstance(part, np.generic):
                raise RefusedError(f"a key or member made of {type(part).__name__}")
    return items


FUNCTIONS: dict[tuple[str, str], Callable[..., object]] = {
    ("numpy", "ndarray"): _refuse_call,
    ("numpy", "dtype"): _make_dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): _make_scalar,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,  # protocol 5
    ("_codecs", "encode"): _encode,  # protocols 0 to 2 have no opcode for bytes, 0 to 3 none for sets
    ("builtins", "bytes"): lambda: b"",
    ("builtins", "set"): lambda items=(): set(as_keys(items)),
    ("builtins", "frozenset"): lambda items=(): frozenset(as_keys(items)),
    ("collections", "OrderedDict"): _make_dict,
}
RENAMED = {"__builtin__": "builtins", "numpy._core.multiarray": "numpy.core.multiarray"}  # by Python 3, by numpy 2
RENAMED["numpy._core.numeric"] = "numpy.core.numeric"


def find_function(module: str, name: str) -> Global:
    """What stands for module.name; raises RefusedError for all that is not in the table above."""
    function = FUNCTIONS.get((RENAMED.get(module, module), name))
    if function is None:
        raise RefusedError(f"{module}.{name}")
    return Global(f"{module}.{name}", function)
