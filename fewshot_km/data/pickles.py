"""Read pickle files of published data sets without running what they ask for: arrays and plain containers only.

A pickle is a program: it names functions, and the reader imports and calls them. Here a name is looked up in a table
of our own functions and nowhere else, and no attribute of anything is ever set.
"""

import io
import pickle
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any, ClassVar

import numpy as np

from fewshot_km.data.files.impostors import HEAD, describe_impostor
from fewshot_km.data.pickled_arrays import Dtype, PickledArray, RefusedError, from_buffer, make_array
from fewshot_km.errors import DataError, describe_error

CHUNK = 1 << 20  # bytes asked of the file at once: all the memory that a false length can cost
LONGEST_REASON = 160  # characters; a damaged file can put anything into an error's text
SCALARS = (type(None), bool, int, float, str, bytes, np.generic)


def load_pickle(data: bytes | IO[bytes], what: str) -> object:
    """Read the one object that a pickle holds, given as its bytes or as a file that stands at its start.

    Returns scalars (None, bool, int, float, str, bytes, numpy's), arrays, and lists, tuples, dicts, sets and frozensets
    of these. An OrderedDict becomes a dict, and Python 2's strings become str (latin-1). Arrays are read-only.
    Raises DataError that starts with `what` if the pickle asks for anything else, is damaged, or is followed by more
    bytes: a second object would be dropped in silence.
    """
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    start = file.tell()
    try:
        value = _PlainUnpickler(_Reader(file)).load()
        if file.read(1):
            raise pickle.UnpicklingError("more bytes follow its end")
        return _finish(value, {})
    except RefusedError as refused:
        raise DataError(
            f"{what} asks for {_shorten(str(refused))}; reading that could run code, so only arrays and plain "
            "containers are read: export the data set again as arrays (numpy.savez), or use image files"
        ) from None
    except MemoryError:
        raise DataError(f"{what} does not fit into memory; read it on a machine that has more") from None
    except Exception as error:  # damaged bytes can make almost any operation fail, each with an error of its own
        impostor = None
        with suppress(Exception):  # what lies in a damaged archive cannot always be read again
            file.seek(start)
            impostor = describe_impostor(file.read(HEAD))
        if impostor:
            raise DataError(f"{what} {impostor}") from None
        raise DataError(
            f"{what} is damaged or cut short: {_shorten(describe_error(error))}; fetch or copy it again"
        ) from None


def _shorten(text: str) -> str:
    return text.encode("unicode_escape").decode()[:LONGEST_REASON]


class _Reader:
    """A file that gives all the bytes it is asked for or raises EOFError, and takes no memory before they are there."""

    def __init__(self, file: IO[bytes]) -> None:
        self._read, self._readline = file.read, file.readline
        self.position = 0

    def readline(self) -> bytes:
        line = self._readline()
        if not line.endswith(b"\n"):
            raise EOFError("its last line does not end")
        self.position += len(line)
        return line

    def read(self, size: int) -> bytes:
        part = self._read(min(size, CHUNK))
        self.position += size
        if len(part) == size:
            return part
        whole = io.BytesIO()  # grows in place, and gives its bytes away without a copy
        while part:
            whole.write(part)
            part = self._read(min(size - whole.tell(), CHUNK))
        if whole.tell() < size:
            raise EOFError(f"{whole.tell()} bytes are left where {size} are announced")
        return whole.getvalue()


@dataclass(frozen=True)
class _Named:
    """What a pickle gets for a name: a function of ours, which checks its arguments."""

    name: str
    function: Callable[..., object] | None


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise RefusedError("_codecs.encode to anything but latin1")
    return text.encode(encoding)


FUNCTIONS: dict[str, Callable[..., object] | None] = {
    "numpy.dtype": Dtype,
    "numpy.ndarray": None,  # only named, as what _reconstruct should make
    "numpy.core.multiarray._reconstruct": PickledArray,
    "numpy.core.multiarray.scalar": lambda kind, raw: make_array(raw, kind, (), "C")[()],
    "numpy.core.numeric._frombuffer": from_buffer,  # protocol 5
    "_codecs.encode": _encode,  # protocols 0 to 2 have no opcode for bytes, 0 to 3 none for sets
    "builtins.bytes": lambda: b"",
    "builtins.set": lambda items=(): set(items),
    "builtins.frozenset": lambda items=(): frozenset(items),
    "collections.OrderedDict": lambda pairs=(): dict(pairs),
}


class _PlainUnpickler(pickle._Unpickler):
    """The standard library's reader in Python, whose memo takes no more memory than it holds, unlike the one in C."""

    stack: list[Any]  # the base class sets these three
    append: Callable[[object], None]
    read: Callable[[int], bytes]

    def __init__(self, reader: _Reader) -> None:
        super().__init__(reader, encoding="latin1")
        self.reader = reader
        self.copied = 0

    def find_class(self, module: str, name: str) -> object:
        known = f"{module.replace('__builtin__', 'builtins').replace('numpy._core', 'numpy.core')}.{name}"
        if known not in FUNCTIONS:
            raise RefusedError(f"{module}.{name}")
        return _Named(f"{module}.{name}", FUNCTIONS[known])

    def load_reduce(self) -> None:
        arguments, named = self.stack.pop(), self.stack.pop()
        if type(named) is not _Named or type(arguments) is not tuple:
            raise pickle.UnpicklingError(f"a call of {type(named).__name__}")
        if named.function is None:
            raise RefusedError(f"a call of {named.name}")
        # Bound what calls copy by what was read (bytes twice, at protocols 0 to 2): else few bytes multiply many
        self.copied += sum(len(part) for part in arguments if isinstance(part, list | str | bytes))
        if self.copied > 2 * self.reader.position:
            raise pickle.UnpicklingError("it uses the same bytes again and again")
        self.append(named.function(*arguments))

    def load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, PickledArray | Dtype):
            raise RefusedError(f"a change inside {type(target).__name__}")
        target.set_state(state)

    def _decode_string(self, value: bytes) -> str | bytes:
        """Python 2's string, but the bytes of an array, which follow its dtype and order, as they are."""
        in_array = len(self.stack) == 4 and isinstance(self.stack[2], Dtype)
        return value if in_array else value.decode("latin1")

    def load_bytearray8(self) -> None:
        self.append(self.read(int.from_bytes(self.read(8), "little")))  # uncopied: arrays are read-only

    dispatch: ClassVar[dict[int, Any]] = {
        **pickle._Unpickler.dispatch,
        pickle.REDUCE[0]: load_reduce,
        pickle.BUILD[0]: load_build,
        pickle.BYTEARRAY8[0]: load_bytearray8,
    }


def _finish(value: Any, done: dict[int, tuple[object, Any]]) -> Any:
    """Put arrays in their places; raises RefusedError for anything but arrays and plain containers.

    `done`: id of an object -> the object, kept so that no other gets its id, and what became of it.
    """
    if isinstance(value, SCALARS):
        return value
    if id(value) in done:
        return done[id(value)][1]
    finished: Any = value
    done[id(value)] = value, finished  # a list may hold itself
    if isinstance(value, list):
        value[:] = [_finish(item, done) for item in value]
    elif isinstance(value, dict):
        value.update({_check_key(key): _finish(item, done) for key, item in value.items()})
    elif isinstance(value, tuple):
        finished = tuple(_finish(item, done) for item in value)
    elif isinstance(value, set | frozenset):
        finished = type(value)(map(_check_key, value))
    elif isinstance(value, np.ndarray | PickledArray):
        finished = value.array if isinstance(value, PickledArray) else value
        if finished is None:
            raise RefusedError("an array without its content")
        for place in np.ndindex(finished.shape) if finished.dtype.hasobject else ():
            finished[place] = _finish(finished[place], done)
        finished.flags.writeable = False
    else:
        raise RefusedError(value.name if isinstance(value, _Named) else f"an object of type {type(value).__name__}")
    done[id(value)] = value, finished
    return finished


def _check_key(key: Any) -> Any:
    """A key or member, which must be a scalar or a tuple of scalars."""
    strange = [part for part in (key if isinstance(key, tuple) else (key,)) if not isinstance(part, SCALARS)]
    if strange:
        raise RefusedError(f"a key or member made of {type(strange[0]).__name__}")
    return key
