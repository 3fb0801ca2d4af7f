"""Folders and archives as one thing: files with names, whose content is never extracted to disk."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO

from fewshot_km.data.files.impostors import HEAD, describe_impostor
from fewshot_km.data.files.names import sort_key
from fewshot_km.errors import DataError

IMAGE_LIMIT = 1 << 28  # bytes of one image file: a camera's raw picture is a quarter of that
TEXT_LIMIT = 1 << 28  # bytes of a csv or json file: a line for each of some million images

_JUNK = {"__MACOSX", "Thumbs.db", "desktop.ini"}


class FileTree(ABC):
    """The files below a folder, or inside of an archive."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Relative POSIX paths of all files but hidden ones, in an order that is the same on all systems."""

    @property
    def empty_folders(self) -> tuple[str, ...]:
        """POSIX paths of empty folders; none in an archive, which need not list them."""
        return ()

    @abstractmethod
    def read(self, names: Collection[str], limit: int = IMAGE_LIMIT) -> Iterator[tuple[str, bytes]]:
        """Yield name and content of these files, in the order that is the fastest to read.

        Raises DataError, with path and name, for a file that is damaged or has more than `limit` bytes.
        """

    @abstractmethod
    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """Open one file, to be read piece by piece: some are larger than memory. Raises DataError if it is damaged."""

    @contextmanager
    def open_data(self, name: str) -> Iterator[IO[bytes]]:
        """As `open`, but raises DataError where the file is what hosts send instead of data."""
        with self.open(name) as file:
            if impostor := describe_impostor(file.read(HEAD)):
                raise DataError(f"{self}: '{name}' {impostor}")
            file.seek(0)
            yield file

    @abstractmethod
    def fingerprint(self) -> list[object]:
        """Facts that are cheap to collect and change with the content; only comparable on one machine."""

    def read_one(self, name: str, limit: int = IMAGE_LIMIT) -> bytes:
        """Read one file."""
        return next(self.read([name], limit))[1]

    def read_text(self, name: str) -> str:
        """Read one UTF-8 text; raises DataError where there is no such file, or it is no text or far too long."""
        if name not in self.names:
            raise DataError(f"{self}: there is no file '{name}' in it")
        content = self.read_one(name, TEXT_LIMIT)
        if impostor := describe_impostor(content):
            raise DataError(f"{self}: '{name}' {impostor}")
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{self}: '{name}' is not UTF-8 text: {words(error)}") from error

    def __str__(self) -> str:
        return str(self.path)


class FolderTree(FileTree):
    """Files below a folder, except in those subfolders for whose path `skip` is true."""

    def __init__(self, path: Path, skip: Callable[[str], bool] = lambda _: False) -> None:
        super().__init__(path)
        self._skip = skip

    @cached_property
    def _entries(self) -> dict[str, os.stat_result]:
        try:
            return dict(_walk(self.path, "", self._skip, (_identity(self.path),)))
        except OSError as error:
            raise DataError(f"{error.filename or self.path} cannot be read: {words(error)}") from error

    @cached_property
    def _files(self) -> dict[str, os.stat_result]:
        return {name: status for name, status in self._entries.items() if name[-1] != "/"}

    @cached_property
    def names(self) -> tuple[str, ...]:
        return ordered(self.path, self._files)

    @property
    def empty_folders(self) -> tuple[str, ...]:
        return tuple(name[:-1] for name in ordered(self.path, [name for name in self._entries if name[-1] == "/"]))

    def read(self, names: Collection[str], limit: int = IMAGE_LIMIT) -> Iterator[tuple[str, bytes]]:
        for name in names:
            with self._reading(name), (self.path / os.fsdecode(name.encode())).open("rb") as file:
                content = limited(file, os.fstat(file.fileno()).st_size, limit)
            yield name, content

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        with self._reading(name), (self.path / os.fsdecode(name.encode())).open("rb") as file:
            yield file

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path / name} cannot be read: {words(error)}") from error

    def fingerprint(self) -> list[object]:
        self.names  # noqa: B018 - raises for names that no cache can hold
        facts = sorted((name, status.st_size, status.st_mtime_ns) for name, status in self._entries.items())
        return [str(self.path.resolve()), facts]


def ordered(path: Path, names: Collection[str]) -> tuple[str, ...]:
    """The names in order, without hidden files; raises DataError, with the tree's path, where one is no UTF-8."""
    kept = [name for name in names if not any(part in _JUNK or part[:1] == "." for part in name.split("/"))]
    for name in kept:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataError(f"{path}: the file name {name!r} is not valid UTF-8: rename the file") from None
    return tuple(sorted(kept, key=sort_key))


def _walk(
    folder: Path | str, prefix: str, skip: Callable[[str], bool], above: tuple[tuple[int, int], ...]
) -> Iterator[tuple[str, os.stat_result]]:
    """Yield name and status of each file, and of each empty folder, whose name ends in a slash.

    Links are followed, but not in circles: `above` are the folders on the way here.
    """
    is_empty = True
    with os.scandir(folder) as entries:  # several times as fast as Path.rglob
        for entry in entries:
            if entry.name in _JUNK or entry.name[:1] == ".":
                continue
            is_empty = False
            name = prefix + os.fsencode(entry.name).decode("utf-8", "surrogateescape")  # whatever the locale says
            if entry.is_symlink() and not Path(entry.path).exists():
                yield name, entry.stat(follow_symlinks=False)  # leads nowhere: said when somebody wants to read it
            elif entry.is_dir():
                here = _identity(entry.path)
                if here not in above and not skip(name):
                    yield from _walk(entry.path, f"{name}/", skip, (*above, here))
            elif entry.is_file():
                yield name, entry.stat()
    if is_empty and prefix:
        yield prefix, os.stat(folder)  # noqa: PTH116 - as in _identity


def _identity(folder: Path | str) -> tuple[int, int]:
    status = os.stat(folder)  # noqa: PTH116 - Path is slow; and a DirEntry's own status lacks this on Windows
    return status.st_dev, status.st_ino


def limited(file: IO[bytes], size: int, limit: int) -> bytes:
    """Read a file that should have `size` bytes; raises ValueError where it has not, or `size` is over the limit."""
    if size > limit:
        raise ValueError(f"{size:,} bytes are more than the {limit:,} that such a file may have")
    content = file.read(size + 1)  # a bare read() would trust the file to be as small as it says
    if len(content) != size:
        raise ValueError(f"it should have {size:,} bytes and has {'more' if len(content) > size else len(content)}")
    return content


def words(error: Exception) -> str:
    """What an error says, in one line."""
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
