"""Read pickle files of published data sets without running what they ask for: arrays and plain containers only.

A pickle is a program: it names functions, and the reader imports and calls them. Here a name is looked up in a table
of our own and nowhere else, no attribute is ever set, and what comes out is checked once more, type by type.
"""

import io
import pickle
import pickletools
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any, ClassVar

import numpy as np

from fewshot_km.data.files.impostors import HEAD, describe_impostor
from fewshot_km.data.pickle_names import SCALARS, Global, RefusedError, Unfinished, as_keys, find_function
from fewshot_km.errors import DataError, describe_error

CHUNK = 1 << 20  # bytes asked of the file at once: all the memory that a false length can cost
LONGEST_REASON = 160  # characters; a damaged file can put anything into an error's text


def load_pickle(data: bytes | IO[bytes], what: str) -> object:
    """Read the one object that a pickle holds, given as its bytes or as a file that stands at its start.

    Returns scalars (None, bool, int, float, str, bytes, numpy's), arrays, and lists, tuples, dicts, sets and frozensets
    of these; an OrderedDict becomes a dict, Python 2's strings become str (latin-1). Arrays are read-only.
    Raises DataError that starts with `what` if the pickle asks for anything else, is damaged, or is followed by more
    bytes: a second object would be dropped in silence.
    """
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    start = file.tell()
    unpickler = _PlainUnpickler(_Reader(file))
    try:
        value = unpickler.load()
        with suppress(EOFError):
            unpickler.read(1)
            raise pickle.UnpicklingError("more bytes follow its end")
        _check_plain(value)
    except RefusedError as refused:
        raise DataError(
            f"{what} asks for {_shorten(str(refused))}; reading that could run code, so only arrays and plain "
            "containers are read: export the data set again as arrays (numpy.savez), or use image files"
        ) from None
    except MemoryError:
        raise DataError(f"{what} does not fit into memory; read it on a machine that has more") from None
    except Exception as error:  # damaged bytes can make almost any operation fail, each with an error of its own
        if impostor := _describe_impostor(file, start):
            raise DataError(f"{what} {impostor}") from None
        reason = _shorten(describe_error(error))
        raise DataError(f"{what} is damaged or cut short: {reason}; fetch or copy it again") from None
    return value


def _describe_impostor(file: IO[bytes], start: int) -> str | None:
    with suppress(Exception):  # what lies in a damaged archive cannot always be read again
        file.seek(start)
        return describe_impostor(file.read(HEAD))
    return None


def _shorten(text: str) -> str:
    return text.encode("unicode_escape").decode()[:LONGEST_REASON]


class _Reader:
    """A file that gives all the bytes it is asked for or raises EOFError, and takes no memory before they are there."""

    def __init__(self, file: IO[bytes]) -> None:
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


class _Memo(dict[int, Any]):
    def __getitem__(self, key: int) -> Any:
        item = super().__getitem__(key)
        return item.value if type(item) is Unfinished and item.value is not None else item


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
        raise RefusedError(f"what the opcode {OPCODE_NAMES[code]} makes")


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

    def find_class(self, module: str, name: str) -> Global:
        return find_function(module, name)

    def load_inst(self) -> None:
        module, name = self.readline()[:-1].decode(), self.readline()[:-1].decode()
        raise RefusedError(f"{module}.{name}")

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(function) is not Global or type(arguments) is not tuple:
            raise pickle.UnpicklingError(f"a call of {type(function).__name__}")
        self._count_copies(arguments)
        self.append(function.call(*arguments))

    def load_build(self) -> None:
        state, target = self.stack.pop(), self.stack.pop()
        if type(target) is not Unfinished:
            raise RefusedError(f"a change inside {type(target).__name__}")
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
        dict.update(self.stack[-1], zip(as_keys(items[::2]), items[1::2], strict=True))

    def load_additems(self) -> None:
        items = self.pop_mark()
        set.update(self.stack[-1], as_keys(items))

    def load_frozenset(self) -> None:
        members = as_keys(self.pop_mark())
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
    """Raise RefusedError if a function, a dtype or an array without its state is left anywhere in what was read."""
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
            raise RefusedError(item.name if isinstance(item, Global) else f"an object of type {kind.__name__}")
