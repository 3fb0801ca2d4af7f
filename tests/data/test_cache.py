"""Banks in the cache: every image at its place, whole or not there at all, whatever happens while they are built."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from fewshot_km.data import cache as bank_cache
from fewshot_km.data import images as bank_images
from fewshot_km.data.bank import ImageBank, content_digest
from fewshot_km.data.cache import Prepared, bank_path, prepare, write_bank
from fewshot_km.data.files.archives import open_tree
from fewshot_km.data.images import ImageForm, bank_from_files, in_threads
from fewshot_km.data.storage import CACHE_ROOT_VARIABLE
from fewshot_km.errors import DataError
from tests.support.made_files import encoded, write

FORM = ImageForm(8)
COUNTS = {"b": 3, "Z": 2, "\u00e9t\u00e9": 4, "a": 1}
ORDER = ["Z", "a", "b", "\u00e9t\u00e9"]  # by code points


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, which is not there yet."""
    monkeypatch.setenv(CACHE_ROOT_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def listed(folder: Path) -> list[str]:
    """All that is in a folder, hidden files too."""
    return sorted(os.listdir(folder)) if folder.is_dir() else []  # noqa: PTH208


def plain(kind: int, number: int) -> npt.NDArray[np.uint8]:
    """[8, 8, 3] of the one colour that belongs to an image: class, number, and their sum."""
    return np.broadcast_to(np.array([kind, number, kind + number], np.uint8), (8, 8, 3))


def made_files() -> dict[str, bytes]:
    return {
        f"{name}/{number}.png": encoded(np.ascontiguousarray(plain(kind, number)))
        for kind, name in enumerate(ORDER)
        for number in range(COUNTS[name])
    }


def classes_of(files: Mapping[str, bytes]) -> dict[str, list[str]]:
    classes: dict[str, list[str]] = {}
    for name in files:
        classes.setdefault(name.split("/")[0], []).append(name)
    return dict(reversed(classes.items()))  # whatever order they were found in


def expected_bank() -> ImageBank:
    arrays = [np.stack([plain(kind, n).transpose(2, 0, 1) for n in range(COUNTS[c])]) for kind, c in enumerate(ORDER)]
    return ImageBank.from_classes(ORDER, arrays)


def hold(folder: Path, kind: str, files: Mapping[str, bytes]) -> Path:
    """The files in a folder, or in an archive in which they stand in disorder."""
    members = list(files.items())
    random.Random(5).shuffle(members)
    if kind == "folder":
        write(folder / "made", dict(members))
        return folder / "made"
    path = folder / f"made.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members:
                archive.writestr(name, content)
    else:
        with tarfile.open(path, "w:gz") as tar:
            for name, content in members:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return path


class Reader:
    """Prepares the bank of some files, and counts how often they were really read."""

    def __init__(self, path: Path, files: Mapping[str, bytes], recipe: str = "made 1") -> None:
        self.path, self.files, self.recipe, self.built = path, files, recipe, 0

    def __call__(self) -> Prepared:
        tree = open_tree(self.path)

        def build() -> Prepared:
            self.built += 1
            bank, done = bank_from_files("made", tree, classes_of(self.files), FORM)
            return Prepared(bank, {"train": ["Z", "a"], "val": ["b"], "test": ["\u00e9t\u00e9"]}, done, "3 of 4")

        return prepare("made", self.recipe, [tree], build)


@pytest.fixture
def reader(cache: Path, tmp_path: Path) -> Reader:
    files = made_files()
    return Reader(hold(tmp_path, "folder", files), files)


# --- every image at its place ---


@pytest.mark.parametrize("kind", ["folder", "zip", "tar.gz"])
def test_each_image_is_at_the_place_of_its_class_and_number(cache: Path, tmp_path: Path, kind: str) -> None:
    files = made_files()
    bank, done = bank_from_files("made", open_tree(hold(tmp_path, kind, files)), classes_of(files), FORM)
    assert list(bank.class_names) == ORDER
    assert bank.counts.tolist() == [COUNTS[name] for name in ORDER]
    for kind_number, name in enumerate(ORDER):
        for number in range(COUNTS[name]):
            image = bank.images[bank.starts[kind_number] + number]
            np.testing.assert_array_equal(image.transpose(1, 2, 0), plain(kind_number, number), err_msg=name)
    assert done == "10 images of 8x8"
    expected = expected_bank()
    assert bank.digest == expected.digest == content_digest(np.asarray(bank.images), ORDER, bank.starts)
    assert bank.file_list is not None
    assert bank.file_names() == [name for kind in ORDER for name in classes_of(files)[kind]]
    stem = f"made-{bank.digest[:16]}"
    assert listed(cache) == sorted([f"{stem}.json", f"{stem}.npy", bank.file_list.name])


def test_images_of_other_sizes_are_brought_to_one_and_that_is_said(cache: Path, tmp_path: Path) -> None:
    files = {"a/1.png": encoded(np.full((20, 30, 3), 7, np.uint8)), "a/2.png": encoded(np.full((40, 9), 9, np.uint8))}
    bank, done = bank_from_files("made", open_tree(hold(tmp_path, "zip", files)), classes_of(files), FORM)
    assert (bank.images[0] == 7).all()
    assert (bank.images[1] == 9).all()
    assert done == "2 images of 9x20 to 30x40, brought to 8x8"


def test_a_bank_is_mapped_and_opened_again_without_reading_the_files(reader: Reader) -> None:
    first, second = reader(), reader()
    assert reader.built == 1
    assert first.bank.digest == second.bank.digest == expected_bank().digest
    assert (second.lists, second.found, second.partial) == (first.lists, "10 images of 8x8", "3 of 4")
    for prepared in (first, second):
        assert isinstance(prepared.bank.images, np.memmap)
        assert prepared.bank.is_intact()


def test_all_cores_decode_at_once(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = threading.Barrier(5)
    decode = bank_images.decode_image

    def together(data: bytes, form: ImageForm) -> Any:
        at_once.wait(timeout=20)  # breaks where fewer than five threads come here
        return decode(data, form)

    monkeypatch.setattr(bank_images, "cores", lambda: 5)
    monkeypatch.setattr(bank_images, "decode_image", together)
    files = made_files()
    bank, _ = bank_from_files("made", open_tree(hold(tmp_path, "zip", files)), classes_of(files), FORM)
    assert bank.digest == expected_bank().digest


def test_only_few_files_are_in_memory_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bank_images, "cores", lambda: 2)
    read: list[int] = []
    files = ((number, b"") for number in range(1000) if read.append(number) is None)  # type: ignore[func-returns-value]
    for done, (number, _) in enumerate(in_threads(len, files), start=1):
        assert number == done - 1
        assert len(read) <= done + 8 * 2


# --- damaged images ---


def test_damaged_images_are_named_all_at_once_and_leave_nothing(cache: Path, tmp_path: Path) -> None:
    files = made_files()
    files |= {"b/1.png": files["b/1.png"][:60], "a/0.png": b"", "Z/1.png": b"<html>"}
    path = hold(tmp_path, "folder", files)
    with pytest.raises(DataError) as caught:
        Reader(path, files)()
    said = str(caught.value)
    assert said.startswith(f"{path}: 3 of 10 images cannot be read: 'Z/1.png': it is a web page; 'a/0.png': it is no")
    assert "'b/1.png': " in said
    assert said.endswith(". Replace or remove them")
    assert "\n" not in said
    assert listed(cache) == []


def test_very_many_damaged_images_are_not_all_looked_at_nor_listed(cache: Path, tmp_path: Path) -> None:
    files = {f"a/{number:03d}.png": b"no image" for number in range(300)}
    with pytest.raises(DataError, match="100 or more of 300 images cannot be read") as caught:
        bank_from_files("made", open_tree(hold(tmp_path, "zip", files)), classes_of(files), FORM)
    assert str(caught.value).count("it is no image") == bank_images.DAMAGED_SHOWN
    assert "; ...." in str(caught.value)
    assert listed(cache) == []


def test_a_damaged_archive_leaves_nothing(cache: Path, tmp_path: Path) -> None:
    files = made_files()
    path = hold(tmp_path, "zip", files)
    data = bytearray(path.read_bytes())
    data[data.index(files["b/2.png"]) + 40] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"made\.zip is damaged or cut short: 'b/2\.png' in it"):
        Reader(path, files)()
    assert listed(cache) == []


def test_too_few_images_are_no_bank(cache: Path) -> None:
    with pytest.raises(DataError, match="made: 1 images came where 2 were announced"):
        write_bank("made", ["a"], [2], (1, 2, 2), [(0, np.zeros((1, 2, 2), np.uint8))])
    assert listed(cache) == []


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError])
def test_an_interrupted_build_leaves_what_was_there(cache: Path, interruption: type[BaseException]) -> None:
    old = write_bank("made", ["a"], [1], (1, 2, 2), [(0, np.ones((1, 2, 2), np.uint8))])
    before = listed(cache)

    def images() -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        yield 0, np.zeros((1, 2, 2), np.uint8)
        raise interruption

    with pytest.raises(interruption):
        write_bank("made", ["a"], [2], (1, 2, 2), images())
    assert listed(cache) == before
    reopened = ImageBank.open(bank_path("made", old.digest))
    assert reopened is not None
    assert reopened.is_intact()


# --- harm done to the cache ---


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def replace(old: bytes, new: bytes) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        data = path.read_bytes()
        assert old in data
        path.write_bytes(data.replace(old, new, 1))

    return change


HARMS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "array cut by a byte": ("npy", cut),
    "array with a byte more": ("npy", lambda path: path.write_bytes(path.read_bytes() + b"\0")),
    "array empty": ("npy", lambda path: path.write_bytes(b"")),
    "array no array": ("npy", lambda path: path.write_bytes(os.urandom(3000))),
    "array a zip": ("npy", replace(b"\x93NUMPY", b"PK\x03\x04  ")),
    "array of another shape": ("npy", replace(b"(10, 3, 8, 8)", b"(10, 3, 8, 4)")),
    "array of another type": ("npy", replace(b"|u1", b"|i1")),
    "array with a broken header": ("npy", replace(b"(10, 3", b"((0, 3")),
    "array gone": ("npy", Path.unlink),
    "index gone": ("json", Path.unlink),
    "index empty": ("json", lambda path: path.write_bytes(b"")),
    "index cut": ("json", cut),
    "index no text": ("json", lambda path: path.write_bytes(b"\xff\xfe\0" * 50)),
    "index nested without end": ("json", lambda path: path.write_text("[" * 100_000)),
    "index of other content": ("json", replace(b'"digest": "', b'"digest": "0')),
    "index with another class": ("json", replace(b'"b"', b'"c"')),
    "index with other counts": ("json", replace(b"[2, 1, 3, 4]", b"[2, 1, 3, 3]")),
    "note gone": ("note", Path.unlink),
    "note empty": ("note", lambda path: path.write_bytes(b"")),
    "note no note": ("note", lambda path: path.write_text('["bank"]')),
    "note that leads nowhere": ("note", replace(b'"bank": "', b'"bank": "0')),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_harmed_cache_is_built_again(reader: Reader, cache: Path, harm: str) -> None:
    digest = reader().bank.digest
    before = listed(cache)
    stem = f"made-{digest[:16]}"
    (note,) = cache.glob("made-source-*.json")
    paths = {"npy": cache / f"{stem}.npy", "json": cache / f"{stem}.json", "note": note}
    kind, do = HARMS[harm]
    do(paths[kind])
    again = reader()
    assert reader.built == 2
    assert again.bank.digest == digest
    assert again.bank.class_names == tuple(ORDER)
    assert again.bank.is_intact()
    assert listed(cache) == before
    assert reader().bank.is_intact()
    assert reader.built == 2


def test_changed_pixels_are_found_when_looked_for_and_replaced_when_built_again(reader: Reader, cache: Path) -> None:
    path = bank_path("made", reader().bank.digest)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert not reader().bank.is_intact()  # each run does not read the whole bank only to see that nobody changed it
    for note in cache.glob("made-source-*.json"):
        note.unlink()
    assert reader().bank.is_intact()


# --- changes of the source ---


def test_a_touched_file_is_read_again_and_the_same_content_kept_once(reader: Reader, cache: Path) -> None:
    digest = reader().bank.digest
    file = reader.path / "b" / "1.png"
    os.utime(file, (1_000_000_000, 1_000_000_000))
    assert reader().bank.digest == digest
    assert reader.built == 2
    assert [path.name for path in cache.glob("*.npy")] == [f"made-{digest[:16]}.npy"]


def test_a_changed_file_is_another_bank_and_the_old_one_stays(reader: Reader, cache: Path) -> None:
    old = reader().bank
    (reader.path / "b" / "1.png").write_bytes(encoded(np.full((8, 8, 3), 201, np.uint8)))
    new = reader().bank
    assert new.digest != old.digest
    assert (new.images[4] == 201).all()
    assert len(list(cache.glob("*.npy"))) == 2
    assert old.is_intact()


def test_a_new_recipe_reads_again(reader: Reader) -> None:
    reader()
    other = Reader(reader.path, reader.files, "made 2")
    assert other().bank.digest == expected_bank().digest
    assert other.built == 1


# --- caches that cannot be written ---


def test_a_cache_that_is_no_folder_is_one_clear_error(reader: Reader, cache: Path) -> None:
    cache.write_text("")
    with pytest.raises(DataError, match=rf"made: .*cache.*{CACHE_ROOT_VARIABLE}") as caught:
        reader()
    assert "\n" not in str(caught.value)
    assert cache.read_text() == ""


SCRIPT = """
import os, sys, time
from pathlib import Path
import numpy as np
from fewshot_km.data.bank import ImageBank
from fewshot_km.data.cache import Prepared, prepare, write_bank
from fewshot_km.data.files.archives import open_tree
from fewshot_km.data.images import ImageForm, bank_from_files
from fewshot_km.errors import DataError

def images(count, pause_at=None):
    for number in range(count):
        if number == pause_at:
            print("half", flush=True)
            time.sleep(60)
        yield number, np.full((3, 84, 84), number % 251, np.uint8)

def from_folder(path):
    tree = open_tree(Path(path))
    classes = {}
    for name in tree.names:
        classes.setdefault(name.split("/")[0], []).append(name)
    def build():
        bank, done = bank_from_files("made", tree, classes, ImageForm(8))
        return Prepared(bank, {"train": list(classes)}, done)
    return prepare("made", "made 1", [tree], build).bank
"""


def start(cache: Path, code: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT + code, *arguments],
        env={**os.environ, CACHE_ROOT_VARIABLE: str(cache), "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: "subprocess.Popen[str]", given: str = "") -> str:
    out, errors = process.communicate(given, timeout=60)
    assert process.returncode == 0, errors
    return out


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX's")
@pytest.mark.parametrize("reserves", [True, False], ids=["room reserved first", "room taken bit by bit"])
def test_a_full_disk_is_one_clear_error_and_leaves_the_old_state(cache: Path, reserves: bool) -> None:
    old = write_bank("made", ["a"], [3], (3, 84, 84), [(n, np.full((3, 84, 84), n, np.uint8)) for n in range(3)])
    before = {name: (cache / name).read_bytes() for name in listed(cache)}
    said = finish(
        start(
            cache,
            f"""
import resource
if not {reserves}: vars(os).pop("posix_fallocate", None)  # as on macOS
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
for label in ("made", "other"):
    try: write_bank(label, ["a"], [40], (3, 84, 84), images(40))
    except DataError as error: print(error)
try: prepare("made", "2", [], lambda: Prepared(write_bank("made", ["a"], [40], (3, 84, 84), images(40)), {{}}, ""))
except DataError as error: print(error)
print(ImageBank.open(Path({str(bank_path("made", old.digest))!r})).is_intact())
""",
        )
    )
    *errors, intact = said.splitlines()
    reason = f"846,720 bytes cannot be kept in {cache}: File too large; make room, or name another folder with"
    assert errors == [f"{label}: {reason} {CACHE_ROOT_VARIABLE}" for label in ("made", "other", "made")]
    assert intact == "True"
    assert {name: (cache / name).read_bytes() for name in listed(cache)} == before


def test_a_killed_build_leaves_no_bank_and_the_next_one_works(cache: Path) -> None:
    process = start(cache, 'write_bank("made", ["a"], [40], (3, 84, 84), images(40, pause_at=20))')
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    process.send_signal(getattr(signal, "SIGKILL", signal.SIGTERM))
    process.communicate(timeout=30)
    (left,) = listed(cache)
    assert left.startswith(".made.npy.")
    assert left.endswith(".part")

    def build() -> Prepared:
        pixels = ((n, np.full((3, 84, 84), n % 251, np.uint8)) for n in range(40))
        return Prepared(write_bank("made", ["a"], [40], (3, 84, 84), pixels), {"train": ["a"]}, "made")

    assert prepare("made", "1", [], build).bank.is_intact()
    assert left in listed(cache)  # another process may still be at it
    long_ago = time.time() - bank_cache.ABANDONED_AFTER_S - 60
    os.utime(cache / left, (long_ago, long_ago))
    prepare("made", "1", [], build)
    assert left in listed(cache)  # nothing was built, and so nothing tidied
    prepare("made", "2", [], build)
    assert sorted(Path(name).suffix for name in listed(cache)) == [".json", ".json", ".json", ".npy"]


def test_processes_that_build_the_same_cache_at_once_all_succeed(cache: Path, tmp_path: Path) -> None:
    files = made_files()
    path = hold(tmp_path, "folder", files)
    code = """
print("ready", flush=True); sys.stdin.readline()
bank = from_folder(sys.argv[1])
print(bank.digest, bank.is_intact())
"""
    processes = [start(cache, code, str(path)) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    digest = expected_bank().digest
    assert [finish(process) for process in processes] == [f"{digest} True\n"] * 3
    stem = f"made-{digest[:16]}"
    (note,), (names,) = cache.glob("made-source-*.json"), cache.glob("made-files-*.json")
    assert listed(cache) == sorted([f"{stem}.json", f"{stem}.npy", note.name, names.name])
    assert json.loads(note.read_text(encoding="utf-8"))["bank"] == digest


def test_threads_that_write_the_same_bank_at_once_all_succeed(cache: Path) -> None:
    together = threading.Barrier(4)
    digests: list[str] = []

    def images() -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
        for number in range(20):
            if number == 10:
                together.wait(timeout=20)  # all four are in the middle of it
            yield number, np.full((1, 8, 8), number, np.uint8)

    def build() -> None:
        digests.append(write_bank("made", ["a", "b"], [12, 8], (1, 8, 8), images()).digest)

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(digests) == 4
    assert len(set(digests)) == 1
    assert listed(cache) == [f"made-{digests[0][:16]}.json", f"made-{digests[0][:16]}.npy"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells which memory belongs to files")
def test_a_cached_bank_of_200_megabytes_takes_no_memory_of_its_own(cache: Path) -> None:
    image = np.arange(3 * 84 * 84, dtype=np.uint32).astype(np.uint8).reshape(3, 84, 84)
    count = 10_000

    def build() -> Prepared:
        bank = write_bank("made", ["a"], [count], (3, 84, 84), ((n, image) for n in range(count)))
        return Prepared(bank, {"train": ["a"]}, "made")

    prepare("made", "1", [], build)
    code = """
def anonymous():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon"))
before = anonymous()
bank = prepare("made", "1", [], lambda: sys.exit("built again")).bank
opened = anonymous()
total = sum(int(bank.images[start : start + 100].sum()) for start in range(0, len(bank.images), 100))
print(bank.images.nbytes, total, opened - before, anonymous() - before)
"""
    size, total, opened, read = map(int, finish(start(cache, code)).split())
    assert size == count * image.size > 200 << 20
    assert total == count * int(image.sum())
    assert opened < 20 << 10  # in kB
    assert read < 20 << 10
