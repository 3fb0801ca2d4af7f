"""Folders and archives: the same files whatever holds them, in an order that is the same everywhere."""

import contextlib
import io
import os
import random
import subprocess
import sys
import tarfile
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from fewshot_km.data.files.archives import open_tree
from fewshot_km.data.files.locating import find_trees
from fewshot_km.errors import DataError
from tests.support.holders import ARCHIVES, FILES, HOLDERS, as_folder, contents, refusal
from tests.support.made_files import write

JUNK = {
    "__MACOSX/n01/._a.png": b"x",
    "n01/.DS_Store": b"x",
    "n01/Thumbs.db": b"x",
    "n02/desktop.ini": b"x",
    ".git/HEAD": b"x",
}


def turned_round(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return dict(reversed(files.items()))


# --- what is there ---


@pytest.mark.parametrize("kind", HOLDERS)
def test_what_was_written_is_read_whatever_holds_it(tmp_path: Path, kind: str) -> None:
    path = HOLDERS[kind](tmp_path, turned_round({**FILES, **JUNK}))
    assert list(contents(path).items()) == list(FILES.items())  # the order, too
    tree = open_tree(path)
    for name, content in FILES.items():
        assert tree.read_one(name) == content
        with tree.open(name) as file:
            assert file.read(10) + file.read() == content
    some = ["n02/deep/down/c.jpg", "n01/a.png"]
    assert dict(tree.read(some)) == {name: FILES[name] for name in some}


@pytest.mark.parametrize("kind", ARCHIVES)
@pytest.mark.parametrize("spelling", ["./{}", "{}", ".//{}"])
def test_archives_made_of_a_dot_hold_the_same_files(tmp_path: Path, kind: str, spelling: str) -> None:
    path = ARCHIVES[kind](tmp_path, {spelling.format(name): content for name, content in FILES.items()})
    assert contents(path) == FILES


@pytest.mark.parametrize("kind", ARCHIVES)
def test_backslashes_in_archives_part_folders_on_every_system(tmp_path: Path, kind: str) -> None:
    path = ARCHIVES[kind](tmp_path, {name.replace("/", "\\"): content for name, content in FILES.items()})
    assert contents(path) == FILES


@pytest.mark.parametrize("kind", HOLDERS)
def test_a_file_of_more_bytes_than_allowed_is_named(tmp_path: Path, kind: str) -> None:
    path = HOLDERS[kind](tmp_path, FILES)
    tree = open_tree(path)
    assert tree.read_one("n01/a.png", limit=1500) == FILES["n01/a.png"]
    with pytest.raises(DataError, match=r"n01/a\.png.*1,500 bytes are more than the 1,499"):
        tree.read_one("n01/a.png", limit=1499)


def test_what_is_no_tree_is_said(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(DataError, match=r"notes\.txt is no folder and no archive \(\.zip, \.tar"):
        open_tree(tmp_path / "notes.txt")
    with pytest.raises(DataError, match="nowhere is not there"):
        open_tree(tmp_path / "nowhere")


@pytest.mark.parametrize("kind", HOLDERS)
def test_a_fingerprint_changes_with_the_files_and_only_then(tmp_path: Path, kind: str) -> None:
    path = HOLDERS[kind](tmp_path, FILES)
    facts = open_tree(path).fingerprint()
    assert open_tree(path).fingerprint() == facts
    changed = path / "n01" / "a.png" if path.is_dir() else path
    later = changed.stat().st_mtime_ns + 1_000_000_000
    os.utime(changed, ns=(later, later))
    touched = open_tree(path).fingerprint()
    assert touched != facts
    HOLDERS[kind](tmp_path, {**FILES, "n01/a.png": FILES["n01/a.png"] + os.urandom(2000)})
    os.utime(changed, ns=(later, later))
    assert open_tree(path).fingerprint() != touched  # by the size alone


# --- the order of names ---


class ShuffledScan:
    """os.scandir as another file system would do it; `blind`, as on Windows: entries do not know who they are."""

    def __init__(self, seed: int, blind: bool = False) -> None:
        self.random, self.blind, self.scandir = random.Random(seed), blind, os.scandir

    @contextlib.contextmanager
    def __call__(self, folder: str | Path = ".") -> Iterator[Iterator["os.DirEntry[str]"]]:
        with self.scandir(folder) as real:
            entries = list(real)
        self.random.shuffle(entries)
        yield iter([BlindEntry(entry) for entry in entries] if self.blind else entries)  # type: ignore[arg-type,misc]


class BlindEntry:
    def __init__(self, entry: "os.DirEntry[str]") -> None:
        self.entry = entry

    def __getattr__(self, name: str) -> object:
        return getattr(self.entry, name)

    def stat(self, follow_symlinks: bool = True) -> os.stat_result:
        known = list(self.entry.stat(follow_symlinks=follow_symlinks))
        known[1:3] = 0, 0  # st_ino and st_dev
        return os.stat_result(known)


@pytest.mark.parametrize("seed", range(5))
def test_names_do_not_depend_on_the_order_of_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    names = [f"n{i % 7}/x{i % 3}/{i:02d}.png" for i in range(60)]
    path = as_folder(tmp_path, dict.fromkeys(names, b""))
    plain = open_tree(path)
    expected = plain.names, plain.fingerprint()
    assert list(expected[0]) == sorted(names)
    monkeypatch.setattr(os, "scandir", ShuffledScan(seed))
    shuffled = open_tree(path)
    assert (shuffled.names, shuffled.fingerprint()) == expected


@pytest.mark.parametrize("kind", ARCHIVES)
@pytest.mark.parametrize("seed", [1, 2])
def test_names_do_not_depend_on_the_order_in_an_archive(tmp_path: Path, kind: str, seed: int) -> None:
    members = list(FILES.items())
    random.Random(seed).shuffle(members)
    assert open_tree(ARCHIVES[kind](tmp_path, dict(members))).names == tuple(FILES)


def test_trees_are_found_in_one_order_however_folders_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for end in ("", "-a.zip", "-b.tar", "_C.tgz"):
        (tmp_path / f"Mini_ImageNet{end}").touch() if end else (tmp_path / "Mini_ImageNet").mkdir()
    (tmp_path / "mini-imagenet").mkdir()
    for name in ("z.zip", "a.zip", "A.zip", "\u00e9.zip"):
        (tmp_path / "mini-imagenet" / name).touch()
    listed = os.listdir

    def found() -> list[str]:
        return [tree.path.relative_to(tmp_path).as_posix() for tree in find_trees(tmp_path, "mini-imagenet", bool)]

    expected = found()
    assert len(expected) == 10
    for seed in range(8):
        shuffle = random.Random(seed).shuffle

        def in_disorder(folder: str | Path = ".", shuffle: Callable[[list[str]], None] = shuffle) -> list[str]:
            names = listed(folder)
            shuffle(names)
            return names

        monkeypatch.setattr(os, "listdir", in_disorder)
        assert found() == expected


@pytest.mark.parametrize("kind", HOLDERS)
def test_composed_and_decomposed_names_stand_at_the_same_place(tmp_path: Path, kind: str) -> None:
    letters = ["e", "\u00e9", "ez", "f", "z", "\u00fc", "\uac00"]  # as code points stand
    for form in ("NFC", "NFD"):
        folder = tmp_path / form
        folder.mkdir()
        names = [unicodedata.normalize(form, letter) for letter in reversed(letters)]
        found = open_tree(HOLDERS[kind](folder, dict.fromkeys(names, b""))).names
        assert [unicodedata.normalize("NFC", name) for name in found] == sorted(letters)


PRINT_NAMES = (
    "import sys; from pathlib import Path; from fewshot_km.data.files.archives import open_tree\n"
    "for path in sys.argv[1:]:\n"
    "    tree = open_tree(Path(path)); print(ascii(sorted(tree.read(tree.names))), ascii(tree.names))"
)


@pytest.mark.skipif(sys.platform != "linux", reason="only there can the system's encoding of file names be chosen")
def test_names_do_not_depend_on_the_locale(tmp_path: Path) -> None:
    paths = [held(tmp_path, FILES) for kind, held in HOLDERS.items() if kind in ("folder", "zip", "tar")]
    shown = ascii([(name, FILES[name]) for name in sorted(FILES)]) + " " + ascii(tuple(FILES))
    for locale, coerced in (("C.UTF-8", "1"), ("C", "1"), ("C", "0")):  # the last has ASCII file names
        environment = {**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": coerced}
        done = subprocess.run(
            [sys.executable, "-c", PRINT_NAMES, *map(str, paths)], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [shown] * 3


def test_names_in_tar_archives_do_not_depend_on_the_systems_encoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8") as archive:
        archive.addfile(tarfile.TarInfo("\u00fc.png"))  # only the pax format would say how it is written
    (tmp_path / "made.tar").write_bytes(out.getvalue())
    for encoding in ("utf-8", "latin-1", "cp1252"):
        monkeypatch.setattr(tarfile.TarFile, "encoding", encoding)
        assert open_tree(tmp_path / "made.tar").names == ("\u00fc.png",)


# --- folders ---

posix = pytest.mark.skipif(os.name != "posix", reason="links, pipes and names of any bytes are POSIX's")


@posix
def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    write(tmp_path / "made", {"a/1.png": b"1", "a/b/2.png": b"2"})
    write(tmp_path / "elsewhere", {"3.png": b"3"})
    (tmp_path / "made" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "made" / "4.png").symlink_to(tmp_path / "elsewhere" / "3.png")
    (tmp_path / "made" / "a" / "b" / "up").symlink_to(tmp_path / "made")
    (tmp_path / "made" / "a" / "self").symlink_to(tmp_path / "made" / "a")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "made")
    assert contents(tmp_path / "made") == {"4.png": b"3", "a/1.png": b"1", "a/b/2.png": b"2", "linked/3.png": b"3"}


def test_deep_folders_are_seen_where_entries_do_not_know_who_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = as_folder(tmp_path, FILES)
    monkeypatch.setattr(os, "scandir", ShuffledScan(0, blind=True))
    assert open_tree(path).names == tuple(FILES)


@posix
@pytest.mark.parametrize("target", ["nowhere.png", "a.png"], ids=["dangling", "to itself"])
def test_a_link_that_leads_nowhere_is_named_when_it_is_read(tmp_path: Path, target: str) -> None:
    path = as_folder(tmp_path, {"b.png": b"b"})
    (path / "a.png").symlink_to(target)
    tree = open_tree(path)
    assert tree.names == ("a.png", "b.png")  # left out, it would be one image fewer and nobody the wiser
    assert tree.read_one("b.png") == b"b"
    with pytest.raises(DataError, match=r"made/a\.png cannot be read: (No such file|Too many levels)"):
        tree.read_one("a.png")


@posix
def test_pipes_and_sockets_are_no_files(tmp_path: Path) -> None:
    path = as_folder(tmp_path, {"b.png": b"b"})
    os.mkfifo(path / "a.png")
    (path / "c.png").symlink_to(path / "a.png")
    start = time.monotonic()
    assert contents(path) == {"b.png": b"b"}
    assert time.monotonic() - start < 5


def test_a_file_that_is_a_folder_by_now_is_named(tmp_path: Path) -> None:
    path = as_folder(tmp_path, {"a.png": b"a", "b.png": b"b"})
    tree = open_tree(path)
    assert tree.names == ("a.png", "b.png")
    (path / "b.png").unlink()
    (path / "b.png").mkdir()
    with pytest.raises(DataError, match=r"b\.png cannot be read: "):
        list(tree.read(tree.names))


def test_a_folder_that_vanishes_is_named(tmp_path: Path) -> None:
    path = as_folder(tmp_path, {"a.png": b"a"})
    tree = open_tree(path)
    (path / "a.png").unlink()
    path.rmdir()
    with pytest.raises(DataError, match="made cannot be read: "):
        _ = tree.names


# --- names that no system should have to bear ---


@posix
def test_a_name_that_is_not_utf8_is_refused_with_its_folder(tmp_path: Path) -> None:
    path = as_folder(tmp_path, {"b.png": b"b"})
    try:
        (Path(os.fsdecode(bytes(path) + b"/a\xff.png"))).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes only names that are UTF-8")
    with pytest.raises(DataError, match=r"made: the file name 'a\\udcff\.png' is not valid UTF-8: rename"):
        _ = open_tree(path).names


@pytest.mark.parametrize("kind", ["zip", "zip, stored", "tar", "tar.gz"])
def test_a_name_that_is_not_utf8_is_refused_with_its_archive(tmp_path: Path, kind: str) -> None:
    path = ARCHIVES[kind](tmp_path, {"\u00fc\u00fc.png": b""})
    if "zip" in kind:
        path.write_bytes(path.read_bytes().replace("\u00fc\u00fc".encode(), b"\xff\xfe\xff\xfe"))
    else:
        out = io.BytesIO()
        with tarfile.open(
            fileobj=out, mode="w:gz" if "gz" in kind else "w", format=tarfile.GNU_FORMAT, encoding="latin-1"
        ) as archive:
            archive.addfile(tarfile.TarInfo("\u00fc.png"))
        path.write_bytes(out.getvalue())
    assert "utf-8" in refusal(path).lower()
