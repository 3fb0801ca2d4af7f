"""Archives: nothing is done that a hostile one asks for, and no damage goes unnoticed."""

import gzip
import os
import random
import stat
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fewshot_km.data.files import archives
from fewshot_km.data.files.archives import open_tree
from fewshot_km.data.files.trees import FileTree
from fewshot_km.errors import DataError
from tests.support.holders import ARCHIVES, FILES, contents, into, refusal, stored
from tests.support.made_files import tarred, zipped


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


def peak_of(work: Callable[[], object]) -> int:
    """Bytes that Python held at once while working, above what it held before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


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
    end = whole.index(b"PK\x01\x02") if "zip" in kind else len(whole)  # a zip's list of members has no checksum
    refused = 0
    for position in range(end):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << random.Random(position).randrange(8)
        got = outcome(path, bytes(flipped))
        assert got in (None, SMALL), position
        refused += got is None
    assert refused > end // 2


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


@pytest.mark.slow
def test_a_zip_of_more_members_than_its_short_count_can_say(tmp_path: Path) -> None:
    names = [f"{i:05d}" for i in range(0x10000 + 5)]
    path = ARCHIVES["zip, stored"](tmp_path, dict.fromkeys(names, b""))
    assert open_tree(path).names == tuple(names)


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
    assert ("is a web page, not the data" if b"html" in content else "is damaged or cut short") in refusal(path)


@pytest.mark.parametrize("name", ["a (1).zip", "a(2).tgz", "a.tar (1).gz", "a - Copy.tar.xz", "a copy 2.tar"])
def test_a_copy_of_an_archive_is_an_archive(tmp_path: Path, name: str) -> None:
    modes = {"zip": None, "tgz": "gz", "gz": "gz", "xz": "xz", "tar": ""}
    mode = modes[name.rpartition(".")[2]]
    path = tmp_path / name
    path.write_bytes(zipped(SMALL) if mode is None else tarred(SMALL, mode))
    assert contents(path) == SMALL


@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_that_changes_after_it_was_listed_is_refused(tmp_path: Path, kind: str) -> None:
    path = ARCHIVES[kind](tmp_path, FILES)
    tree: FileTree = open_tree(path)
    assert "n01/a.png" in tree.names
    ARCHIVES[kind](tmp_path, SMALL)
    with pytest.raises(DataError, match=r"is damaged or cut short.*n01/a\.png"):
        list(tree.read(["n01/a.png"]))
