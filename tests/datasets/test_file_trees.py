"""Folders and archives: the same files whatever holds them, and nothing done that a hostile archive asks for."""

import contextlib
import gzip
import io
import os
import random
import stat
import subprocess
import sys
import tarfile
import time
import tracemalloc
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from fewshot_km.datasets import archives
from fewshot_km.datasets.archives import open_tree
from fewshot_km.datasets.file_trees import FileTree
from fewshot_km.datasets.locating import find_trees
from fewshot_km.errors import DataError
from tests.datasets.made_files import tarred, write, zipped

FILES = {
    "list.csv": b"file,class\n",
    "n01/a.png": b"alpha" * 300,
    "n01/b.png": b"",
    "n02/deep/down/c.jpg": bytes(range(256)) * 5,
    "n02/\u00fcn\u00ef.jpg": b"\0" * 2000,
}
JUNK = {
    "__MACOSX/n01/._a.png": b"x",
    "n01/.DS_Store": b"x",
    "n01/Thumbs.db": b"x",
    "n02/desktop.ini": b"x",
    ".git/HEAD": b"x",
}
Write = Callable[[Path, Mapping[str, bytes]], Path]


def stored(files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return out.getvalue()


def into(suffix: str, pack: Callable[[Mapping[str, bytes]], bytes]) -> Write:
    def written(folder: Path, files: Mapping[str, bytes]) -> Path:
        path = folder / f"made{suffix}"
        path.write_bytes(pack(files))
        return path

    return written


def as_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    write(folder / "made", files)
    return folder / "made"


HOLDERS: dict[str, Write] = {
    "folder": as_folder,
    "zip": into(".zip", zipped),
    "zip, stored": into(".ZIP", stored),
    "tar": into(".tar", lambda files: tarred(files, "")),
    "tar.gz": into(".tar.gz", tarred),
    "tgz": into(".tgz", tarred),
    "tar.bz2": into(".tar.bz2", lambda files: tarred(files, "bz2")),
    "tar.xz": into(".tar.xz", lambda files: tarred(files, "xz")),
}
ARCHIVES = {kind: held for kind, held in HOLDERS.items() if kind != "folder"}


def contents(path: Path) -> dict[str, bytes]:
    """All that is in a tree, in the order of its names; and read() must not lose or make up any."""
    tree = open_tree(path)
    read = dict(tree.read(tree.names))
    assert sorted(read) == sorted(tree.names)
    return {name: read[name] for name in tree.names}


def turned_round(files: Mapping[str, bytes]) -> dict[str, bytes]:
    return dict(reversed(files.items()))


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder three levels down; after the test, nothing may have been written by anything but the test."""
    inner = tmp_path / "outer" / "middle" / "inner"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    yield inner
    (archive,) = (path for path in tmp_path.rglob("*") if not path.is_dir())
    assert archive.parent == inner
    assert not Path("/gotcha.png").exists()


def refusal(path: Path) -> str:
    """What is said about a tree whose names, or else contents, cannot be had."""
    with pytest.raises(DataError) as caught:
        contents(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def peak_of(work: Callable[[], object]) -> int:
    """Bytes that Python held at once while working, above what it held before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


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
    "import sys; from pathlib import Path; from fewshot_km.datasets.archives import open_tree\n"
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


# --- hostile archives ---

OUTSIDE = ["../x.png", "a/../../x.png", "/gotcha.png", "C:\\x.png", "C:/x.png", "..\\x.png", "\\gotcha.png"]


@pytest.mark.parametrize("kind", ARCHIVES)
@pytest.mark.parametrize("name", OUTSIDE)
def test_members_that_point_out_of_the_archive_are_refused(watched: Path, kind: str, name: str) -> None:
    said = refusal(ARCHIVES[kind](watched, {**FILES, name: b"gotcha"}))
    assert f"is refused: its member {name!r} points out of the archive" in said


@pytest.mark.parametrize("kind", ARCHIVES)
@pytest.mark.parametrize("again", ["./n01/a.png", "n01\\a.png"])
def test_a_name_that_occurs_in_two_spellings_is_refused(watched: Path, kind: str, again: str) -> None:
    said = refusal(ARCHIVES[kind](watched, {**FILES, again: b"another"}))
    assert f"its member {again!r} occurs twice" in said


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_occurs_twice_is_refused(watched: Path) -> None:
    with zipfile.ZipFile(watched / "made.zip", "w") as archive:
        archive.writestr("a.png", b"1")
        archive.writestr("a.png", b"2")
    assert "its member 'a.png' occurs twice" in refusal(watched / "made.zip")
    (watched / "made.zip").unlink()
    with tarfile.open(watched / "made.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("a.png"))
        tar.addfile(tarfile.TarInfo("a.png"))
    assert "its member 'a.png' occurs twice" in refusal(watched / "made.tar")


TAR_KINDS = {
    "symbolic link": tarfile.SYMTYPE,
    "hard link": tarfile.LNKTYPE,
    "character device": tarfile.CHRTYPE,
    "block device": tarfile.BLKTYPE,
    "pipe": tarfile.FIFOTYPE,
    "of no known type": b"Z",
}


@pytest.mark.parametrize("kind", TAR_KINDS)
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_members_of_a_tar_that_are_no_files_are_refused(watched: Path, kind: str, mode: str) -> None:
    path = watched / "made.tar"
    with tarfile.open(path, mode) as archive:
        info = tarfile.TarInfo("n01/a.png")
        info.type, info.linkname = TAR_KINDS[kind], "/etc/passwd"
        archive.addfile(info)
    assert "is refused: its member 'n01/a.png' is neither a file nor a folder" in refusal(path)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_members_of_a_zip_that_are_no_files_are_refused(watched: Path, kind: int) -> None:
    path = watched / "made.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("n01/a.png")
        info.external_attr = (kind | 0o644) << 16
        archive.writestr(info, "/etc/passwd")
    assert "is refused: its member 'n01/a.png' is neither a file nor a folder" in refusal(path)


def replaced(path: Path, old: bytes, new: bytes, times: int) -> None:
    data = path.read_bytes()
    assert data.count(old) == times
    path.write_bytes(data.replace(old, new))


def test_an_encrypted_member_is_refused(watched: Path) -> None:
    path = into(".zip", stored)(watched, {"a.png": b"secret"})
    replaced(path, b"PK\x03\x04\x14\0\0\0", b"PK\x03\x04\x14\0\1\0", 1)
    replaced(path, b"PK\x01\x02\x14\x03\x14\0\0\0", b"PK\x01\x02\x14\x03\x14\0\1\0", 1)
    assert "its member 'a.png' is encrypted" in refusal(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_could_be_inflated_only_without_bound_is_refused(watched: Path, method: int) -> None:
    path = into(".zip", lambda files: stored(files, method))(watched, {"a.png": b"\0" * (64 << 20)})
    assert peak_of(lambda: refusal(path)) < 4 << 20
    assert "its member 'a.png' is neither stored nor deflated" in refusal(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("says", [0, 1, 99_999, 100_001, 200_000_000])
def test_a_member_that_lies_about_its_size_is_refused_by_name(watched: Path, method: int, says: int) -> None:
    path = into(".zip", lambda files: stored(files, method))(watched, {"a.png": os.urandom(100_000), "b.png": b"b"})
    old = (100_000).to_bytes(4, "little")
    replaced(path, old, says.to_bytes(4, "little"), 4 if method == zipfile.ZIP_STORED else 2)
    assert "'a.png'" in refusal(path)


def test_a_deflated_member_is_not_inflated_beyond_the_size_it_has(watched: Path) -> None:
    path = into(".zip", zipped)(watched, {"a.png": b"\0" * (64 << 20)})
    replaced(path, (64 << 20).to_bytes(4, "little"), (1000).to_bytes(4, "little"), 2)
    assert peak_of(lambda: refusal(path)) < 4 << 20


# --- archives that explode ---


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.bz2", "tar.xz"])
def test_an_archive_that_unpacks_to_far_more_than_itself_is_refused(
    watched: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(archives, "RATIO_FLOOR", 1 << 20)
    path = ARCHIVES[kind](watched, {f"{i}.png": b"\0" * (1 << 20) for i in range(8)})
    assert peak_of(lambda: refusal(path)) < 12 << 20
    assert f"is refused: its {path.stat().st_size:,} bytes unpack to" in refusal(path)


@pytest.mark.parametrize("kind", ["zip", "tar.gz", "tar.bz2", "tar.xz"])
def test_a_little_archive_may_be_as_dense_as_it_likes(tmp_path: Path, kind: str) -> None:
    path = ARCHIVES[kind](tmp_path, {"a.png": b"\0" * (8 << 20)})
    assert contents(path) == {"a.png": b"\0" * (8 << 20)}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_of_more_bytes_than_allowed_is_refused(
    watched: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = ARCHIVES[kind](watched, {"a.png": os.urandom(6000), "b.png": os.urandom(6000)})
    monkeypatch.setattr(archives, "TOTAL_LIMIT", 30_000)
    contents(path)
    monkeypatch.setattr(archives, "TOTAL_LIMIT", 11_999)
    assert "unpack to" in refusal(path)


@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_of_more_members_than_allowed_is_refused(
    watched: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = ARCHIVES[kind](watched, FILES)
    monkeypatch.setattr(archives, "MEMBERS_LIMIT", len(FILES))
    assert contents(path) == FILES
    monkeypatch.setattr(archives, "MEMBERS_LIMIT", len(FILES) - 1)
    assert "it has more than 4 members" in refusal(path)


def block(kind: bytes, size: int, name: str = "header", form: int = tarfile.GNU_FORMAT) -> bytes:
    """A tar header of any size, be there as many bytes or not."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, size
    return info.tobuf(form)


def gzipped_tar(folder: Path, *blocks: bytes) -> Path:
    path = folder / "made.tar.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for part in (*blocks, bytes(1024)):
            file.write(part)
    return path


ZEROS = bytes(32 << 20)


@pytest.mark.parametrize(
    "kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, b"Z"]
)
@pytest.mark.parametrize("size", [len(ZEROS), 4 << 30, -1024], ids=["there", "gigabytes", "negative"])
def test_a_tar_header_is_not_read_whatever_its_size(watched: Path, kind: bytes, size: int) -> None:
    path = gzipped_tar(watched, block(kind, size), ZEROS)
    assert peak_of(lambda: refusal(path)) < 8 << 20
    assert "made.tar.gz is damaged or cut short: the archive: a header of" in refusal(path)


def pax(kind: bytes, fields: Mapping[str, str]) -> bytes:
    body = b""
    for key, value in fields.items():
        rest = f" {key}={value}\n".encode()
        length = next(n for n in range(len(rest), len(rest) + 20) if n == len(rest) + len(str(n)))
        body += str(length).encode() + rest
    return block(kind, len(body)) + body + bytes(-len(body) % 512)


def test_headers_for_all_members_do_not_add_up(watched: Path) -> None:
    parts = []
    for i in range(24):
        parts += [pax(tarfile.XGLTYPE, {f"comment{i}": "x" * 1_000_000}), block(tarfile.REGTYPE, 0, f"{i}.png")]
    path = gzipped_tar(watched, *parts)
    assert peak_of(lambda: contents(path)) < 12 << 20


def test_headers_of_headers_come_to_an_end(watched: Path) -> None:
    path = gzipped_tar(watched, *[pax(tarfile.XHDTYPE, {"comment": "x"})] * 5000, block(tarfile.REGTYPE, 0, "a.png"))
    assert "is damaged or cut short" in refusal(path)


@pytest.mark.parametrize("size", [-512, -1024, -(1 << 40)])
def test_a_file_of_negative_size_does_not_send_the_reader_back(watched: Path, size: int) -> None:
    for parts in (
        [block(tarfile.REGTYPE, 0, "a.png"), block(tarfile.REGTYPE, size, "b.png")],
        [pax(tarfile.XHDTYPE, {"size": str(size)}), block(tarfile.REGTYPE, 0, "b.png")],
    ):
        refusal(gzipped_tar(watched, *parts))


def test_sparse_files_are_refused_before_their_map_is_read(watched: Path) -> None:
    old = bytearray(block(tarfile.GNUTYPE_SPARSE, 0, "a.png"))
    old[482] = 1  # the map goes on in the next block, and in the next
    old[148:156] = b"%06o\0 " % (sum(old[:148]) + 8 * 32 + sum(old[156:]))
    entry = (b"%011o\0" % 7) * 42 + b"\1" + bytes(7)
    new = pax(tarfile.XHDTYPE, {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"})
    fields = b"1000000000\n" + b"7\n" * (16 << 20)
    for parts in ([bytes(old), entry * 30_000], [new, block(tarfile.REGTYPE, len(fields), "a.png"), fields]):
        path = gzipped_tar(watched, *parts)
        assert peak_of(lambda path=path: refusal(path)) < 8 << 20  # type: ignore[misc]
        assert "it holds a sparse file" in refusal(path)


def test_what_follows_the_end_of_a_tar_counts_too(watched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "RATIO_FLOOR", 1 << 20)
    path = gzipped_tar(watched, block(tarfile.REGTYPE, 0, "a.png"), bytes(1024), ZEROS)
    assert "unpack to" in refusal(path)


# --- damage ---

SMALL = {"a/1.png": b"alpha" * 9, "a/2.png": b"", "b/\u00fc.png": bytes(range(250))}


def outcome(path: Path, data: bytes) -> dict[str, bytes] | None:
    """What is read, None where it is refused; anything else that is raised is a defect."""
    path.write_bytes(data)
    try:
        return contents(path)
    except DataError as error:
        if str(path) not in str(error):
            raise
        return None


@pytest.mark.parametrize("kind", ["zip", "zip, stored", "tar.gz", "tar.bz2", "tar.xz"])
def test_an_archive_cut_short_anywhere_is_refused(tmp_path: Path, kind: str) -> None:
    path = ARCHIVES[kind](tmp_path, SMALL)
    whole = path.read_bytes()
    assert [length for length in range(len(whole)) if outcome(path, whole[:length]) is not None] == []


def test_a_tar_cut_short_anywhere_is_refused_unless_all_is_there(tmp_path: Path) -> None:
    path = ARCHIVES["tar"](tmp_path, SMALL)
    whole = path.read_bytes().rstrip(b"\0")
    data_end = len(whole) + -len(whole) % 512
    whole = whole.ljust(data_end + 1024, b"\0")
    around = (n for block_end in range(0, len(whole), 512) for n in range(block_end - 2, block_end + 3))
    for length in sorted({*range(0, len(whole), 17), *around} & set(range(len(whole)))):
        # two blocks of zeros should end it; all members are there, and known to be, from the first of them on
        assert outcome(path, whole[:length]) == (SMALL if length >= data_end + 512 else None)


@pytest.mark.parametrize("kind", ["zip", "zip, stored", "tar.gz", "tar.bz2", "tar.xz"])
def test_a_flipped_bit_anywhere_in_an_archive_is_refused_or_changes_nothing(tmp_path: Path, kind: str) -> None:
    path = ARCHIVES[kind](tmp_path, SMALL)
    whole = path.read_bytes()
    refused = 0
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << random.Random(position).randrange(8)
        got = outcome(path, bytes(flipped))
        assert got in (None, SMALL), position
        refused += got is None
    assert refused > len(whole) // 2


def test_no_flipped_bit_in_the_directory_of_a_zip_hides_a_member(tmp_path: Path) -> None:
    path = ARCHIVES["zip"](tmp_path, {"n1/a.png": b"a", "n1/o": b"o", "x.png": b"x"})
    whole = path.read_bytes()
    intact = contents(path)
    for position in range(whole.index(b"PK\x01\x02"), len(whole)):
        for bit in range(8):
            flipped = bytearray(whole)
            flipped[position] ^= 1 << bit
            assert outcome(path, bytes(flipped)) in (None, intact), (position, bit)


def test_a_flipped_bit_in_a_tars_headers_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    path = ARCHIVES["tar"](tmp_path, {"a/1.png": b"alpha"})
    whole = path.read_bytes()[:2048]
    for position in range(0, 512, 3):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << random.Random(position).randrange(8)
        assert outcome(path, bytes(flipped)) in (None, {"a/1.png": b"alpha"})


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_flipped_bit_in_a_member_of_a_zip_names_the_member(tmp_path: Path, method: int) -> None:
    noise = random.Random(0).randbytes(400)
    path = into(".zip", lambda files: stored(files, method))(tmp_path, {"a.png": b"a", "b.png": noise, "c.png": b"c"})
    data = bytearray(path.read_bytes())
    data[data.index(b"b.png") + 100] ^= 4
    path.write_bytes(data)
    assert "made.zip is damaged or cut short: 'b.png' in it: " in refusal(path)
    assert open_tree(path).read_one("c.png") == b"c"


def test_a_zip_of_more_members_than_its_short_count_can_say(tmp_path: Path) -> None:
    names = [f"{i:05d}" for i in range(0x10000 + 5)]
    path = ARCHIVES["zip, stored"](tmp_path, dict.fromkeys(names, b""))
    assert open_tree(path).names == tuple(names)
    data = path.read_bytes()
    longer = data.rindex(b"PK\x06\x06")
    path.write_bytes(data[: longer + 32] + (0x10000 + 6).to_bytes(8, "little") + data[longer + 40 :])
    with pytest.raises(DataError, match="65,541 members are left of 65,542"):
        _ = open_tree(path).names


def test_the_most_members_of_a_zip_that_its_short_count_can_say(tmp_path: Path) -> None:
    names = [f"{i:05d}" for i in range(0xFFFF)]
    assert open_tree(ARCHIVES["zip, stored"](tmp_path, dict.fromkeys(names, b""))).names == tuple(names)


def test_a_zip_may_have_a_comment_and_other_bytes_around_it(tmp_path: Path) -> None:
    path = ARCHIVES["zip"](tmp_path, SMALL)
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b"fetched today " * 4000
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())
    assert contents(path) == SMALL


@pytest.mark.parametrize("kind", ARCHIVES)
@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"\0" * 2000], ids=["empty", "html", "zeros"])
def test_what_is_no_archive_is_refused_with_its_path(tmp_path: Path, kind: str, content: bytes) -> None:
    path = ARCHIVES[kind](tmp_path, {})
    path.write_bytes(content)
    assert "is damaged or cut short" in refusal(path)


@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_that_changes_after_it_was_listed_is_refused(tmp_path: Path, kind: str) -> None:
    path = ARCHIVES[kind](tmp_path, FILES)
    tree: FileTree = open_tree(path)
    assert "n01/a.png" in tree.names
    ARCHIVES[kind](tmp_path, SMALL)
    with pytest.raises(DataError, match=r"is damaged or cut short.*n01/a\.png"):
        list(tree.read(["n01/a.png"]))
