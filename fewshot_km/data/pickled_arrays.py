"""Numpy's arrays as pickles describe them: types, shapes and bytes that are checked before an array is made of them."""

import math
import re
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
DTYPE_NAME = re.compile(r"[biufc]\d{1,2}|[SU]\d{1,6}|O[48]")  # neither records (V) nor dates (M, m)


class RefusedError(Exception):
    """The pickle asks for something that is neither an array nor a plain container; the text names it."""


class Dtype:
    """A dtype whose byte order is still to come."""

    def __init__(self, name: object, *_flags: object) -> None:
        if not isinstance(name, str):
            raise ValueError("a dtype without a name")
        if not DTYPE_NAME.fullmatch(name):
            raise RefusedError(f"an array of numpy.dtype({name!r})")
        self.dtype = np.dtype(name)

    def set_state(self, state: object) -> None:
        match state:
            case (3, "<" | ">" | "=" | "|" as order, None, None, None, size, int(), int()):
                if size in (-1, self.dtype.itemsize):
                    self.dtype = self.dtype.newbyteorder(order)
                    return
        raise RefusedError(f"an array of numpy.dtype({self.dtype.str[1:]!r}) with fields or a size of its own")


class PickledArray:
    """An array whose content is still to come; its objects, if it holds such, are finished last."""

    def __init__(self, *_: object) -> None:  # numpy's class, shape and type of an array to be filled
        self.array: Array | None = None

    def set_state(self, state: object) -> None:
        match state:
            case (1, shape, Dtype(dtype=np.dtype(kind="O")), int(), list(items)):
                _check_shape(shape, len(items))
                self.array = np.fromiter(items, object, len(items)).reshape(shape)
            case (1, shape, Dtype() as dtype, int(fortran), raw):
                self.array = make_array(raw, dtype, shape, "F" if fortran else "C")
            case _:
                raise ValueError("an array without a proper state")


def _check_shape(shape: Any, size: int, itemsize: int = 1) -> None:
    """Raise ValueError unless `size` fills the shape, whose numbers must be within numpy's bounds."""
    is_shape = isinstance(shape, tuple) and len(shape) <= 64 and all(type(n) is int and 0 <= n < 2**63 for n in shape)
    if not is_shape or math.prod(shape) * itemsize != size:
        raise ValueError("an array whose content does not fill its shape")


def make_array(raw: Any, kind: Any, shape: Any, order: Any) -> Array:
    raw = raw.encode("latin1") if isinstance(raw, str) else raw  # Python 2's bytes are strings
    if not isinstance(kind, Dtype) or kind.dtype.hasobject or not isinstance(raw, bytes):
        raise ValueError("an array without proper bytes")
    _check_shape(shape, len(raw), kind.dtype.itemsize)
    array: Array = np.ndarray(shape, kind.dtype, raw, order=order)
    if kind.dtype.kind == "U":
        array.tolist()  # not every four bytes are a character: fail here, not where someone looks at them
    return array


def from_buffer(raw: Any, kind: Any, shape: Any, order: Any, axes: Any = None) -> Array:
    return make_array(raw, kind, shape, "C").transpose(axes) if order == "K" else make_array(raw, kind, shape, order)
