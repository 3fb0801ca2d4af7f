"""Where files go, and that they get there whole or not at all."""

import os
import threading
from pathlib import Path

import pytest
from platformdirs import user_cache_path

from fewshot_km.data.storage import (
    CACHE_ROOT_VARIABLE,
    DATA_ROOT_VARIABLE,
    cache_root,
    default_data_root,
    describe_os_error,
    read_bytes_bounded,
    read_text_bounded,
    whole_file,
)
from fewshot_km.errors import DataError


def test_the_environment_names_data_root_and_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(DATA_ROOT_VARIABLE, str(tmp_path / "data"))
    monkeypatch.setenv(CACHE_ROOT_VARIABLE, str(tmp_path / "cache"))
    assert default_data_root() == tmp_path / "data"
    assert cache_root() == tmp_path / "cache"


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_ROOT_VARIABLE, "~/images")
    monkeypatch.setenv(CACHE_ROOT_VARIABLE, "~/banks")
    assert default_data_root() == Path.home() / "images"
    assert cache_root() == Path.home() / "banks"


def test_a_file_is_read_up_to_its_bound_and_nothing_else_is(tmp_path: Path) -> None:
    path, pipe = tmp_path / "file", tmp_path / "pipe"
    path.write_bytes(b"\xef\xbb\xbfsix\xc3\xa9s\r\n")
    os.mkfifo(pipe)
    assert read_text_bounded(path, 11) == "sixés\r\n"
    assert read_bytes_bounded(path, 11) == path.read_bytes()
    for wrong, most_bytes, why in (
        (path, 10, "has 11 bytes, and no such file needs more than 10"),
        (pipe, 10, "is no file, but a folder, a pipe or a device"),
        (tmp_path, 10, "is no file, but a folder, a pipe or a device"),
        (Path("/dev/zero"), 10, "is no file, but a folder, a pipe or a device"),
        (tmp_path / "gone", 10, "cannot be read (No such file or directory)"),
    ):
        with pytest.raises(DataError) as error:
            read_text_bounded(wrong, most_bytes)
        assert str(error.value) == f"{wrong}: {why}"
    path.write_bytes(b"ab\xff")
    with pytest.raises(DataError, match=r"is no text in UTF-8 \(byte 2\)"):
        read_text_bounded(path, 11)


@pytest.mark.parametrize("unset", [True, False], ids=["unset", "empty"])
def test_without_it_both_lie_in_the_platforms_cache(monkeypatch: pytest.MonkeyPatch, unset: bool) -> None:
    for variable in (DATA_ROOT_VARIABLE, CACHE_ROOT_VARIABLE):
        if unset:
            monkeypatch.delenv(variable)
        else:
            monkeypatch.setenv(variable, "")
    assert user_cache_path("fewshot_km") in default_data_root().parents
    assert user_cache_path("fewshot_km") in cache_root().parents
    assert default_data_root() != cache_root()


def test_a_whole_file_appears_under_its_name_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.txt"
    with whole_file(path) as part:
        part.write_text("content")
        assert not path.exists()
    assert path.read_text() == "content"
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]
    assert path.stat().st_mode & 0o444 == 0o444  # others may read a shared cache


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt])
def test_a_failed_block_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, interruption: type[BaseException]
) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def write_half() -> None:
        with whole_file(path) as part:
            part.write_text("ne")
            raise interruption

    with pytest.raises(interruption):
        write_half()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def special(path: Path, kind: str) -> Path:
    """Something at `path` that is no text."""
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "nowhere":
        path.symlink_to(path.with_name("gone"))
    elif kind == "latin1":
        path.write_bytes("ä".encode("latin1"))
    elif kind == "large":
        with path.open("wb") as file:
            file.truncate(1 << 40)  # takes no room
    return path


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("folder", "is no file, but a folder, a pipe or a device"),
        ("fifo", "is no file, but"),
        ("device", "is no file, but"),
        ("nowhere", "cannot be read"),
        ("nothing", "cannot be read"),
        ("latin1", "is no text in UTF-8"),
        ("large", "has 1,099,511,627,776 bytes, and no such file needs more than 10"),
    ],
)
def test_what_is_no_short_text_is_refused_at_once(tmp_path: Path, kind: str, why: str) -> None:
    with pytest.raises(DataError, match=f"file.txt: {why}"):
        read_text_bounded(special(tmp_path / "file.txt", kind), 10)


def test_a_short_text_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_bytes(b"\xef\xbb\xbf" + "ä\r\nbcde".encode())
    assert read_text_bounded(tmp_path / "file.txt", 11) == "ä\r\nbcde"
    with pytest.raises(DataError, match="no such file needs more than 10"):
        read_text_bounded(tmp_path / "file.txt", 10)


def test_an_error_of_the_system_names_what_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for attempt in (
        lambda: (tmp_path / "file" / "a" / "b").mkdir(parents=True),
        lambda: (tmp_path / "file" / "c").open("w"),
        lambda: (tmp_path / "file").mkdir(),
    ):
        with pytest.raises(OSError, match="file") as caught:
            attempt()
        assert describe_os_error(caught.value) == f"{tmp_path / 'file'} is a file where a folder is needed"
    with pytest.raises(OSError, match="gone") as caught:
        (tmp_path / "gone").open()
    assert describe_os_error(caught.value) == f"{tmp_path / 'gone'}: No such file or directory"
    assert describe_os_error(OSError("two\nlines"), tmp_path) == f"{tmp_path}: two lines"


def test_writers_at_the_same_time_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    together = threading.Barrier(4)

    def write(letter: str) -> None:
        with whole_file(path) as part, part.open("w") as file:
            for _ in range(50):
                file.write(letter * 100)
            together.wait(timeout=10)  # all four are inside the block at once

    threads = [threading.Thread(target=write, args=(letter,)) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in {letter * 5000 for letter in "abcd"}
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]
