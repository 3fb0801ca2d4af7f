"""Pickles are read as arrays and plain containers, or refused in one sentence; nothing that they ask for is run."""

import collections
import copyreg
import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewshot_km.data.pickles import load_pickle
from fewshot_km.errors import DataError

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
GRID = np.arange(24).reshape(2, 3, 4)

PLAIN = {
    "scalars": [None, True, False, 0, -1, 255, 70_000, -(10**30), 2.5, float("inf"), "", "é漢\n'", b"", b"\x00\xff\n"],
    "containers": {"a": [1, (2, 3), ()], 1: {"x": {}}, (1, "b"): {1, 2}, b"k": frozenset({3.5}), None: set()},
    "long": ["x" * 300, b"\xfe" * 70_000, tuple(range(1000)), {i: str(i) for i in range(2500)}],
}
ARRAYS = {
    "uint8": np.arange(256, dtype=np.uint8).reshape(4, 8, 8),
    "int64": np.arange(600).reshape(20, 30),
    "columns first": np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    "axes moved": GRID.transpose(1, 0, 2),
    "strided": GRID[:, ::2],
    "no dimensions": np.array(7),
    "empty": np.zeros((0, 3), np.float32),
    "big-endian": np.array([1.5, -2], ">f8"),
    "bool": np.array([True, False]),
    "complex": np.array([1 + 2j]),
    "text": np.array([["ab", "漢"], ["", "x"]]),
    "bytes": np.array([b"ab", b"c"]),
    "empty bytes": np.empty(0, "S200"),
    "objects": np.array([None, [1, 2], np.arange(2), np.array(5)], object).reshape(2, 2),
    "objects, columns first": np.asfortranarray(np.array([[1, "a"], [2.5, None]], object)),
    "no objects": np.empty(0, object),
}
NUMPY_SCALARS = [
    np.uint8(200),
    np.float32(1.5),
    np.int64(-3),
    np.bool_(True),
    np.str_("é"),
    np.str_(""),
    np.bytes_(b"x"),
]


def assert_same(read: object, written: object) -> None:
    """The same types, values, dtypes and shapes, all the way down."""
    assert type(read) is type(written)
    if isinstance(written, np.ndarray):
        assert isinstance(read, np.ndarray)
        assert (read.dtype, read.shape) == (written.dtype, written.shape)
        if written.dtype.hasobject:
            assert_same(list(read.flat), list(written.flat))
        else:
            np.testing.assert_array_equal(read, written)
    elif isinstance(written, list | tuple):
        assert isinstance(read, list | tuple)
        assert len(read) == len(written)
        for one, other in zip(read, written, strict=True):
            assert_same(one, other)
    elif isinstance(written, dict):
        assert isinstance(read, dict)
        assert list(read) == list(written)
        assert_same(list(read.values()), list(written.values()))
    else:
        assert read == written


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("value", [*PLAIN.values(), *ARRAYS.values()], ids=[*PLAIN, *ARRAYS])
def test_what_was_written_is_read(value: object, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    assert_same(load_pickle(data, "x"), value)
    assert_same(load_pickle(io.BytesIO(data), "x"), value)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_numpy_scalars_are_read(protocol: int) -> None:
    assert_same(load_pickle(pickle.dumps(NUMPY_SCALARS, protocol), "x"), NUMPY_SCALARS)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_ordered_dict_becomes_a_dict_in_its_order(protocol: int) -> None:
    ordered = collections.OrderedDict([("b", 1), ("a", [2])])
    assert_same(load_pickle(pickle.dumps(ordered, protocol), "x"), {"b": 1, "a": [2]})


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_occurs_twice_is_one_object_and_a_list_may_hold_itself(protocol: int) -> None:
    array, loop = np.arange(3), []
    loop.append(loop)
    read: Any = load_pickle(pickle.dumps([array, {"same": array}, loop], protocol), "x")
    assert read[0] is read[1]["same"]
    assert read[2][0] is read[2]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", ["uint8", "columns first", "objects"])
def test_arrays_are_read_only(name: str, protocol: int) -> None:
    read: Any = load_pickle(pickle.dumps(ARRAYS[name], protocol), "x")
    with pytest.raises(ValueError, match="read-only"):
        read[0] = 0


def test_a_member_of_an_archive_is_read(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, 3 << 20, dtype=np.uint8)  # beyond what is read at once
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("cache.pkl", pickle.dumps({"image_data": images}))
    with zipfile.ZipFile(tmp_path / "a.zip") as archive, archive.open("cache.pkl") as member:
        assert_same(load_pickle(member, "a.zip: cache.pkl"), {"image_data": images})


# --- Python 2 -----------------------------------------------------------------------------------------------------


def python_2_array(raw: bytes, shape: bytes, dtype: bytes = b"u1", order: bytes = b"|") -> bytes:
    """An array as Python 2's cPickle writes it at protocol 2: byte strings, old module names."""
    text = b"U" + bytes([len(raw)]) if len(raw) < 256 else b"T" + struct.pack("<i", len(raw))
    return (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x01cnumpy\nndarray\nq\x02K\x00\x85U\x01b\x87Rq\x03(K\x01" + shape
        + b"cnumpy\ndtype\nq\x04U\x02" + dtype + b"K\x00K\x01\x87Rq\x05(K\x03U\x01" + order
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89" + text + raw + b"q\x06tb"
    )  # fmt: skip


@pytest.mark.parametrize("copies", [1, 100], ids=["short string", "long string"])
def test_a_python_2_cache_is_read_with_str_keys(copies: int) -> None:
    raw = bytes([0, 127, 128, 255, 10, 13]) * copies
    array = python_2_array(raw, b"K" + bytes([copies]) + b"K\x02K\x03\x87")
    labels = python_2_array(struct.pack("<2i", 7, -8), b"K\x02\x85", b"i4", b"<")
    data = b"\x80\x02}(U\x04dataq\x07" + array + b"U\x06labelsq\x08" + labels + b"U\x02\xe9gX\x01\x00\x00\x00a" + b"u."
    expected = {
        "data": np.frombuffer(raw, np.uint8).reshape(copies, 2, 3),
        "labels": np.array([7, -8], "<i4"),
        "ég": "a",
    }
    assert_same(pickle.loads(data, encoding="latin1"), expected)
    assert_same(load_pickle(data, "x"), expected)


def test_python_2_sets_ordered_dicts_and_long_strings_are_read() -> None:
    ordered = b"ccollections\nOrderedDict\n(](](U\x01bK\x01e](U\x01aK\x02eetR"
    data = b"\x80\x02(c__builtin__\nset\n](K\x01K\x02e\x85R" + ordered + b"T\x00\x01\x00\x00" + b"\xe9" * 256 + b"t."
    assert_same(load_pickle(data, "x"), ({1, 2}, {"b": 1, "a": 2}, "é" * 256))


def test_a_python_2_text_pickle_is_read() -> None:
    data = b"(dp0\nS'n\\xe9'\np1\n(lp2\nI1\naL23L\naI01\naF2.5\nas."
    assert pickle.loads(data, encoding="latin1") == load_pickle(data, "x") == {"né": [1, 23, True, 2.5]}


# --- Pickles that would run code ----------------------------------------------------------------------------------


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def call(name: str, *arguments: bytes) -> bytes:
    module, _, function = name.rpartition(".")
    return f"c{module}\n{function}\n".encode() + b"(" + b"".join(arguments) + b"tR"


MARKER = text("%")  # stands for the path of the file or folder that the payload would make
MAKE = call("os.mkdir", MARKER)
COMMAND = text("mkdir %")
EMPTY_ARRAY = call("numpy._core.multiarray._reconstruct", b"cnumpy\nndarray\n", b"K\x00\x85", b"C\x01b")
HOSTILE = {  # what it asks for first, and the pickle
    "os.system": call("os.system", COMMAND),
    "posix.system": call("posix.system", COMMAND),
    "builtins.eval": call("builtins.eval", text("__import__('os').mkdir('%')")),
    "__builtin__.eval": call("__builtin__.eval", text("__import__('os').mkdir('%')")),
    "builtins.getattr": call("builtins.getattr", call("pathlib.Path", MARKER), text("mkdir")) + b")R",
    "subprocess.Popen": call("subprocess.Popen", b"](" + text("mkdir") + MARKER + b"e"),
    "functools.partial": call("functools.partial", b"cos\nmkdir\n", MARKER) + b")R",
    "numpy.load": b"cnumpy\nload\n0" + MAKE,
    "numpy.ndarray.tofile": text("numpy") + text("ndarray.tofile") + b"\x93(" + EMPTY_ARRAY + MARKER + b"tR",
    "numpy.memmap": b"cnumpy\nmemmap\n(" + MARKER + text("u1") + text("w+") + b"K\x00K\x01\x85t\x81",  # NEWOBJ
    "numpy.memmap ": b"cnumpy\nmemmap\n(" + MARKER + b"t}(" + text("mode") + text("w+") + text("shape") + b"K\x01u\x92",
    "io.FileIO": b"(cio\nFileIO\n" + MARKER + text("w") + b"o",  # OBJ
    "io.FileIO ": b"(" + MARKER + text("w") + b"iio\nFileIO\n",  # INST
    "copyreg._reconstructor": call("copyreg._reconstructor", b"cbuiltins\nobject\n" * 2, b"N")
    + b"0" + MAKE,
    "types.SimpleNamespace": call("types.SimpleNamespace") + b"}(" + text("shape") + MAKE + b"ub",  # BUILD with a dict
    "os.mkdir": EMPTY_ARRAY + b"}(" + text("shape") + MAKE + b"ub",
}  # fmt: skip


def payload(body: bytes, path: Path) -> bytes:
    """The pickle, with the path in place of its marker and each text's length mended."""
    for template in ("__import__('os').mkdir('%')", "mkdir %", "%"):
        body = body.replace(text(template), text(template.replace("%", str(path))))
    return (b"\x80\x02" if b"__builtin__" in body else b"\x80\x04") + body + b"."


@pytest.mark.skipif(os.name != "posix", reason="the payloads are written for posix")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_pickle_that_would_run_code_is_refused_by_name(name: str, tmp_path: Path) -> None:
    made = tmp_path / "made"
    data = payload(HOSTILE[name], made)
    with pytest.raises(DataError) as refusal:
        load_pickle(data, "cache.pkl")
    assert str(refusal.value).startswith(f"cache.pkl asks for {name.strip()}; reading that could run code")
    assert "export the data set again as arrays" in str(refusal.value)
    assert not made.exists()

    try:  # the same bytes are no dud: the standard reader runs them
        value = pickle.loads(data)
    except TypeError:
        assert name == "os.mkdir"  # an array takes no dict, but by then the folder is made
    else:
        for finish in {"wait", "close"} & set(dir(value)):
            getattr(value, finish)()
    assert made.exists()


@pytest.mark.parametrize(
    "opcodes",
    [b"Pid\n", b"K\x01Q", b"\x82\xf0", b"\x83\xf0\x00", b"\x84\xf0\x00\x00\x00", b"\x97",
     b"cnumpy\ndtype\n)\x81", b"cnumpy\ndtype\n)}\x92", b"(cnumpy\ndtype\no"],
    ids=["PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "NEWOBJ", "NEWOBJ_EX", "OBJ"],
)  # fmt: skip
def test_opcodes_that_make_foreign_objects_are_refused(opcodes: bytes) -> None:
    copyreg.add_extension("os", "getcwd", 240)
    try:
        with pytest.raises(DataError, match=r"^x (asks for|is damaged or cut short: )"):
            load_pickle(b"\x80\x05" + opcodes + b".", "x")
    finally:
        copyreg.remove_extension("os", "getcwd", 240)


DTYPE = b"cnumpy\ndtype\n(%s\x89\x88tR(K\x03%s%sJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"


@pytest.mark.parametrize(
    ("data", "asked"),
    [
        (b"]}b.", "a change inside list"),
        (b"cnumpy\nndarray\n.", "numpy.ndarray"),
        (b"](cos\npath\ne.", "os.path"),
        (b"}(K\x01c__builtin__\nset\nu.", "__builtin__.set"),
        (call("numpy.ndarray", b"J\xff\xff\xff\x7f") + b".", "a call of numpy.ndarray"),
        (call("_codecs.encode", text("a"), text("rot13")) + b".", "_codecs.encode"),
        (call("numpy.dtype", text("V1000000000")) + b".", "an array of numpy.dtype('V1000000000')"),
        (call("numpy.dtype", text("S1000000000")) + b".", "an array of numpy.dtype('S1000000000')"),
        (call("numpy.dtype", text("M8[s]")) + b".", "an array of numpy.dtype('M8[s]')"),
        (pickle.dumps(np.dtype("u1")), "an object of type"),
        (pickle.dumps(np.zeros(2, [("a", "i4")])), "an array of numpy.dtype('V4')"),
        (pickle.dumps(np.dtype("i4", metadata={"a": 1})), "an array of numpy.dtype('i4') with"),
        (DTYPE % (text("i4"), text("<"), b"NN" + b"}") + b".", "an array of numpy.dtype('i4') with"),
        (EMPTY_ARRAY + b".", "an array without its content"),
        (pickle.dumps({((1,),): 2}), "a key or member made of tuple"),
    ],
)
def test_other_than_arrays_and_plain_containers_is_refused(data: bytes, asked: str) -> None:
    with pytest.raises(DataError) as refusal:
        load_pickle(data, "x")
    assert str(refusal.value).startswith(f"x asks for {asked}")


def test_names_from_the_file_cannot_break_the_message() -> None:
    with pytest.raises(DataError) as refusal:
        load_pickle(b"\x80\x04" + text("a\n\x1b[2J") + text("b" * 10_000) + b"\x93.", "x")
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 500


# --- Damage -------------------------------------------------------------------------------------------------------

SMALL: dict[str, object] = {
    "a": [1, 2.5, b"xyz", True],
    "é": (np.arange(3, dtype=np.uint8), np.array(["u"]), np.array([None], object)),
    "s": {np.float32(2)},
}


def assert_plain(value: object) -> None:
    if isinstance(value, np.ndarray):
        assert value.dtype.kind in "biufcSUO"
        value = value.tolist() if value.dtype.kind == "O" else value.dtype.kind
    if isinstance(value, list | tuple | set | frozenset):
        for item in value:
            assert_plain(item)
    elif isinstance(value, dict):
        assert_plain([*value, *value.values()])
    else:
        assert type(value) in {int, float, bool, str, bytes, complex, type(None)} or isinstance(value, np.generic)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_pickle_cut_short_anywhere_is_refused(protocol: int) -> None:
    data = pickle.dumps(SMALL, protocol)
    for length in range(len(data)):
        with pytest.raises(DataError, match=r"^a/b\.pkl is damaged or cut short: "):
            load_pickle(data[:length], "a/b.pkl")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_more_after_the_end_is_refused(protocol: int) -> None:
    with pytest.raises(DataError, match="more bytes follow its end"):
        load_pickle(pickle.dumps(1, protocol) + pickle.dumps(2, protocol), "x")


@given(st.sampled_from(PROTOCOLS), st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6))
def test_flipped_bytes_give_a_refusal_or_plain_values(protocol: int, flips: list[tuple[int, int]]) -> None:
    data = bytearray(pickle.dumps(SMALL, protocol))
    for place, value in flips:
        data[place % len(data)] = value
    try:
        read = load_pickle(bytes(data), "x")
    except DataError:
        return
    assert_plain(read)


# --- Bombs: run apart, with too little memory for what they claim --------------------------------------------------

HUGE = struct.pack("<Q", 1 << 33)
EIGHT_GIB = {
    "BINBYTES8": b"\x8e" + HUGE + b"ab.",
    "BINUNICODE8": b"\x8d" + HUGE + b"ab.",
    "BYTEARRAY8": b"\x96" + HUGE + b"ab.",
    "FRAME": b"\x80\x04\x95" + HUGE + b"ab.",
    "BINBYTES": b"B\xff\xff\xff\xffab.",
    "BINSTRING": b"T\xff\xff\xff\x7fab.",
    "LONG4": b"\x8b\xff\xff\xff\x7fab.",
    "shape to start with": EMPTY_ARRAY.replace(b"K\x00\x85", b"\x8a\x05\0\0\0\0\x02\x85") + b".",
    "shape of the state": pickle.dumps(np.zeros(5, np.uint8), 4).replace(b"K\x05\x85", b"\x8a\x05\0\0\0\0\x02\x85"),
    "bytes": call("builtins.bytes", b"J\xff\xff\xff\x7f") + b".",
    "strings copied": text("a" * 10**6) + b"q\x000("
    + call("_codecs.encode", b"h\x00", text("latin1")) * 9000 + b"t.",
    "dtype named by a list that doubles": b"cnumpy\ndtype\n)" + b"2\x86" * 60 + b"\x85R.",
    "place in the memo": b"K\x01r\xff\xff\xff\x7fcos\nsystem\n.",
    "sets copied": b"](" + b"".join(b"J" + struct.pack("<i", i) for i in range(10**5)) + b"eq\x000("
    + call("builtins.set", b"h\x00") * 2000 + b"t.",
}  # fmt: skip
READ_WITH_LITTLE_MEMORY = """
import resource, sys
from fewshot_km.data.pickles import load_pickle
from fewshot_km.errors import DataError
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (256 << 20), resource.RLIM_INFINITY))
try:
    with open(sys.argv[1], "rb") as file:
        load_pickle(file, "bomb.pkl")
except DataError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and a limit on memory")
@pytest.mark.parametrize("name", EIGHT_GIB)
def test_a_bomb_is_refused_without_its_memory(name: str, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.pkl"
    bomb.write_bytes(EIGHT_GIB[name])
    run = subprocess.run(
        [sys.executable, "-c", READ_WITH_LITTLE_MEMORY, str(bomb)], capture_output=True, check=False, timeout=60
    )
    assert run.stderr == b""
    assert run.stdout.startswith(b"bomb.pkl ")
    assert b"does not fit into memory" not in run.stdout  # it was seen through, not run into
