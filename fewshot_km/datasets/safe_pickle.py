"""Read pickle files of published data sets without running what they ask for: arrays and plain containers only.

A pickle is a program: it names functions, and the reader imports and calls them. Here a name is looked up in a table
of our own and nowhere else, no attribute is ever set, and what comes out is checked once more, type by type.
"""

import io
import math
import pickle
import pickletools
import re
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, ClassVar, TypeGuard

import numpy as np
import numpy.typing as npt

from fewshot_km.errors import DataError, describe_error

Array = npt.NDArray[Any]

CHUNK = 1 << 20  # bytes asked of the file at once: all the memory that a false length can cost
LONGEST_REASON = 160  # characters; a damaged file can put anything into an error's text
SCALARS = frozenset({type(None), bool, int, float, str, bytes})
DTYPE_NAME = re.compile(r"[biufc]\d{1,2}|[SU]\d{1,6}|O[48]")  # neither records (V) nor dates (M, m)


def load_pickle(data: bytes | BinaryIO, what: str) -> object:
    """Read the one object that a pickle holds, given as its bytes or as a file that stands at its start.

    Returns scalars (None, bool, int, float, str, bytes, numpy's), arrays, and lists, tuples, dicts, sets and frozensets
    of these; an OrderedDict becomes a dict, Python 2's strings become str (latin-1). Arrays are read-only.
    Raises DataError that starts with `what` if the pickle asks for anything else, is damaged, or is followed by more
    bytes: a second object would be dropped in silence.
    """
    unpickler = _PlainUnpickler(_Reader(io.BytesIO(data) if isinstance(data, bytes) else data))
    try:
        value = unpickler.load()
        with suppress(EOFError):
            unpickler.read(1)
            raise pickle.UnpicklingError("more bytes follow its end")
        _check_plain(value)
    except _RefusedError as refused:
        raise DataError(
            f"{what} asks for {_shorten(str(refused))}; reading that could run code, so only arrays and plain "
            "containers are read: export the data set again as arrays (numpy.savez), or use image files"
        ) from None
    except MemoryError:
        raise DataError(f"{what} does not fit into memory; read it on a machine that has more") from None
    except Exception as error:  # damaged bytes can make almost any operation fail, each with an error of its own
        reason = _shorten(describe_error(error))
        raise DataError(f"{what} is damaged or cut short: {reason}; fetch or copy it again") from None
    return value


class _RefusedError(Exception):
    """The pickle asks for something that is neither an array nor a plain container; the text names it."""


def _shorten(text: str) -> str:
    return text.encode("unicode_escape").decode()[:LONGEST_REASON]


class _Reader:
    """A file that gives all the bytes it is asked for or raises EOFError, and takes no memory before they are there."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.position = 0

    def readline(self) -> bytes:
        line = self.file.readline()
        if not line.endswith(b"\n"):
            raise EOFError("its last line does not end")
        self.position += len(line)
        return line

    def read(self, size: int) -> bytes:
        data = self.file.read(min(size, CHUNK))
        if len(data) < size:
            data = self._read_on(data, size)
        self.position += size
        return data

    def _read_on(self, start: bytes, size: int) -> bytes:
        whole = io.BytesIO()  # grows in place, and gives its bytes away without a copy
        part = start
        while part:
            whole.write(part)
            part = self.file.read(min(size - whole.tell(), CHUNK))
        if whole.tell() < size:
            raise EOFError(f"{whole.tell()} bytes are left where {size} are announced")
        return whole.getvalue()


@dataclass(frozen=True)
class _Global:
    """What a pickle gets for a name: a function of ours, which checks its arguments."""

    name: str
    call: Callable[..., object]


@dataclass
class _Unfinished:
    """An array or dtype whose state is still to come; a later reference to it means what that state made of it."""

    finish: Callable[[object], object]
    value: object = None


class _Memo(dict[int, Any]):
    def __getitem__(self, key: int) -> Any:
        item = super().__getitem__(key)
        return item.value if type(item) is _Unfinished and item.value is not None else item


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


def _reconstruct(*arguments: object) -> _Unfinished:
    match arguments:
        case (_Global(name="numpy.ndarray"), (0,), "b" | b"b"):
            return _Unfinished(_finish_array)
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


def _make_dtype(name: object, *_flags: object) -> _Unfinished:
    if not isinstance(name, str):
        raise ValueError("a dtype without a name")
    if not DTYPE_NAME.fullmatch(name):
        raise _RefusedError(f"an array of numpy.dtype({name!r})")
    dtype = np.dtype(name)

    def finish(state: object) -> np.dtype[Any]:
        match state:
            case (3, "<" | ">" | "=" | "|" as byte_order, None, None, None, size, int(), int()):
                if size in (-1, dtype.itemsize):
                    return dtype.newbyteorder(byte_order)
        raise _RefusedError(f"an array of numpy.dtype({name!r}) with fields or a size of its own")

    return _Unfinished(finish)


def _refuse_call(*_arguments: object) -> object:
    raise _RefusedError("a call of numpy.ndarray")


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise _RefusedError("_codecs.encode to anything but latin1")
    return text.encode(encoding)


def _make_dict(pairs: Any = ()) -> dict[object, object]:
    return dict(zip(_as_keys([key for key, _ in pairs]), [value for _, value in pairs], strict=True))


def _as_keys(items: object) -> list[object] | tuple[object, ...]:
    """Check that keys or members are scalars or flat tuples: hashing deeper ones overflows C's stack or never ends."""
    if not isinstance(items, list | tuple):
        raise TypeError(f"members from {type(items).__name__}")
    for item in items:
        for part in item if isinstance(item, tuple) else (item,):
            if type(part) not in SCALARS and not isinstance(part, np.generic):
                raise _RefusedError(f"a key or member made of {type(part).__name__}")
    return items


FUNCTIONS: dict[tuple[str, str], Callable[..., object]] = {
    ("numpy", "ndarray"): _refuse_call,
    ("numpy", "dtype"): _make_dtype,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.multiarray", "scalar"): _make_scalar,
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,  # protocol 5
    ("_codecs", "encode"): _encode,  # protocols 0 to 2 have no opcode for bytes, 0 to 3 none for sets
    ("builtins", "bytes"): lambda: b"",
    ("builtins", "set"): lambda items=(): set(_as_keys(items)),
    ("builtins", "frozenset"): lambda items=(): frozenset(_as_keys(items)),
    ("collections", "OrderedDict"): _make_dict,
}
RENAMED = {"__builtin__": "builtins", "numpy._core.multiarray": "numpy.core.multiarray"}  # by Python 3, by numpy 2
RENAMED["numpy._core.numeric"] = "numpy.core.numeric"

# What only builds scalars, tuples and lists, moves them about, or looks a name up
PLAIN_OPCODES = """
    PROTO FRAME STOP MARK POP POP_MARK DUP PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET GLOBAL STACK_GLOBAL
    NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING SHORT_BINSTRING
    UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 SHORT_BINBYTES BINBYTES BINBYTES8
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT EMPTY_SET
"""
OPCODE_NAMES = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}


class _Opcodes(dict[int, Any]):
    def __missing__(self, code: int) -> Any:
        if code not in OPCODE_NAMES:
            raise pickle.UnpicklingError(f"there is no opcode {code}")
        raise _RefusedError(f"what the opcode {OPCODE_NAMES[code]} makes")


class _PlainUnpickler(pickle._Unpickler):
    """The standard library's reader, less every opcode that is neither plain nor defined here."""

    stack: list[Any]  # the base class sets these five
    append: Callable[[object], None]
    pop_mark: Callable[[], list[Any]]
    read: Callable[[int], bytes]
    readline: Callable[[], bytes]

    def __init__(self, reader: _Reader) -> None:
        super().__init__(reader, encoding="latin1")
        self.memo = _Memo()
        self.reader = reader
        self.copied = 0

    def find_class(self, module: str, name: str) -> _Global:
        function = FUNCTIONS.get((RENAMED.get(module, module), name))
        if function is None:
            raise _RefusedError(f"{module}.{name}")
        return _Global(f"{module}.{name}", function)

    def load_inst(self) -> None:
        module, name = self.readline()[:-1].decode(), self.readline()[:-1].decode()
        raise _RefusedError(f"{module}.{name}")

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(function) is not _Global or type(arguments) is not tuple:
            raise pickle.UnpicklingError(f"a call of {type(function).__name__}")
        self._count_copies(arguments)
        self.append(function.call(*arguments))

    def load_build(self) -> None:
        state, target = self.stack.pop(), self.stack.pop()
        if type(target) is not _Unfinished:
            raise _RefusedError(f"a change inside {type(target).__name__}")
        self._count_copies(state)
        target.value = target.finish(state)
        self.append(target.value)

    def _count_copies(self, parts: tuple[object, ...]) -> None:
        """Bound what calls copy by what was read (bytes twice, at protocols 0 to 2): else few bytes multiply many."""
        self.copied += sum(len(part) for part in parts if isinstance(part, list | str | bytes))
        if self.copied > 2 * self.reader.position:
            raise pickle.UnpicklingError("it uses the same bytes again and again")

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._fill_dict([key, value])

    def load_setitems(self) -> None:
        self._fill_dict(self.pop_mark())

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._fill_dict(items)

    def _fill_dict(self, items: list[Any]) -> None:
        dict.update(self.stack[-1], zip(_as_keys(items[::2]), items[1::2], strict=True))

    def load_additems(self) -> None:
        items = self.pop_mark()
        set.update(self.stack[-1], _as_keys(items))

    def load_frozenset(self) -> None:
        members = _as_keys(self.pop_mark())
        self.append(frozenset(members))  # to the stack that pop_mark has brought back

    def load_binstring(self) -> None:
        data = self._read_sized("<I")
        # An array's bytes, which follow its dtype and order, would only be made a string and bytes again
        in_array = len(self.stack) == 4 and isinstance(self.stack[2], np.dtype)
        self.append(data if in_array else data.decode("latin1"))

    def load_bytearray8(self) -> None:
        self.append(self._read_sized("<Q"))  # as bytes: arrays are laid over them uncopied, and nothing changes them

    def _read_sized(self, layout: str) -> bytes:
        (size,) = struct.unpack(layout, self.read(struct.calcsize(layout)))
        return self.read(size)

    dispatch: ClassVar[dict[int, Any]] = _Opcodes(
        {
            **{c: pickle._Unpickler.dispatch[c] for c, name in OPCODE_NAMES.items() if name in PLAIN_OPCODES.split()},
            pickle.INST[0]: load_inst,
            pickle.REDUCE[0]: load_reduce,
            pickle.BUILD[0]: load_build,
            pickle.SETITEM[0]: load_setitem,
            pickle.SETITEMS[0]: load_setitems,
            pickle.DICT[0]: load_dict,
            pickle.ADDITEMS[0]: load_additems,
            pickle.FROZENSET[0]: load_frozenset,
            pickle.BINSTRING[0]: load_binstring,
            pickle.BYTEARRAY8[0]: load_bytearray8,
        }
    )


def _check_plain(value: object) -> None:
    """Raise _RefusedError if a function, a dtype or an array without its state is left anywhere in what was read."""
    waiting, seen = [value], set[int]()
    while waiting:
        item = waiting.pop()
        kind = type(item)
        if kind in SCALARS or isinstance(item, np.generic) or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, dict):
            waiting.extend(item.values())  # its keys are known to be scalars
        elif isinstance(item, list | tuple):
            waiting.extend(item)
        elif isinstance(item, np.ndarray):
            waiting.extend(item.flat if item.dtype.hasobject else ())
        elif not isinstance(item, set | frozenset):
            raise _RefusedError(item.name if isinstance(item, _Global) else f"an object of type {kind.__name__}")
