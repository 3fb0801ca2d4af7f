"""Folders and archives as one thing: files with names, read in memory and never extracted to disk."""

import os
import stat
import tarfile
import unicodedata
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, Any

from fewshot_km.errors import DataError

ZIP_SUFFIXES = (".zip",)
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

MEMBERS_LIMIT = 2_000_000  # ImageNet's training images are 1.3 million
TOTAL_LIMIT = 1 << 40  # bytes unpacked; ImageNet is an eighth of that
RATIO_LIMIT = 200  # unpacked over packed: pictures are compressed already, empty ones excepted
RATIO_FLOOR = 1 << 30  # bytes unpacked below which the ratio does not matter
HEADER_LIMIT = 1 << 20  # bytes of a tar member that is no file: a long name, say
IMAGE_LIMIT = 1 << 28  # bytes of one image file: a camera's raw picture is a quarter of that

_JUNK = {"__MACOSX", "Thumbs.db", "desktop.ini"}


class FileTree(ABC):
    """The files below a folder, or inside of an archive."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """POSIX paths of all files, relative and in an order that is the same everywhere; hidden ones left out."""

    @abstractmethod
    def read(self, names: Collection[str], limit: int = IMAGE_LIMIT) -> Iterator[tuple[str, bytes]]:
        """Yield name and content of these files, in the order in which they are read the fastest.

        Raises DataError, with path and name, for a file that is damaged or has more than `limit` bytes.
        """

    @abstractmethod
    def open(self, name: str) -> AbstractContextManager[IO[bytes]]:
        """One file, to be read piece by piece: some are larger than memory. Raises DataError where it cannot be."""

    @abstractmethod
    def fingerprint(self) -> list[object]:
        """Facts that change when the content does, cheap to collect, for one machine only."""

    def read_one(self, name: str, limit: int = IMAGE_LIMIT) -> bytes:
        """The content of one file."""
        return next(self.read([name], limit))[1]

    def __str__(self) -> str:
        return str(self.path)


class FolderTree(FileTree):
    """Files below a folder; `skip` is given the path of each subfolder and says whether to stay out of it."""

    def __init__(self, path: Path, skip: Callable[[str], bool] = lambda _: False) -> None:
        super().__init__(path)
        self._skip = skip

    @cached_property
    def _files(self) -> dict[str, os.stat_result]:
        try:
            return dict(_walk(self.path, "", self._skip, (_identity(self.path),)))
        except OSError as error:
            raise DataError(f"{error.filename or self.path} cannot be read: {_words(error)}") from error

    @cached_property
    def names(self) -> tuple[str, ...]:
        """See FileTree."""
        return _ordered(self._files)

    def read(self, names: Collection[str], limit: int = IMAGE_LIMIT) -> Iterator[tuple[str, bytes]]:
        """See FileTree."""
        for name in names:
            with self._reading(name), (self.path / os.fsdecode(name.encode())).open("rb") as file:
                content = _limited(file, os.fstat(file.fileno()).st_size, limit)
            yield name, content

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """See FileTree."""
        with self._reading(name), (self.path / os.fsdecode(name.encode())).open("rb") as file:
            yield file

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            raise DataError(f"{self.path / name} cannot be read: {_words(error)}") from error

    def fingerprint(self) -> list[object]:
        """See FileTree."""
        self.names  # noqa: B018 - raises for names that no cache can hold
        facts = sorted((name, status.st_size, status.st_mtime_ns) for name, status in self._files.items())
        return [str(self.path.resolve()), facts]


class ArchiveTree(FileTree):
    """Files inside of an archive. Hostile archives are refused: see the limits above, and `_check_member`."""

    def fingerprint(self) -> list[object]:
        """See FileTree."""
        status = self.path.stat()
        return [str(self.path.resolve()), status.st_size, status.st_mtime_ns]

    @contextmanager
    def _reading(self, name: str | None = None) -> Iterator[None]:
        try:
            yield
        except DataError:
            raise
        except Exception as error:  # zipfile, tarfile and zlib answer damaged bytes with a dozen unrelated types
            where = f"'{name}' in it" if name else "the archive"
            raise DataError(
                f"{self.path} is damaged or cut short: {where}: {_words(error)}. Fetch or copy it again"
            ) from error

    def _check_total(self, total: int, members: int) -> None:
        packed = self.path.stat().st_size
        if members > MEMBERS_LIMIT:
            raise DataError(f"{self.path} is refused: it has more than {MEMBERS_LIMIT:,} members")
        if total > TOTAL_LIMIT or (total > RATIO_FLOOR and total > RATIO_LIMIT * packed):
            raise DataError(
                f"{self.path} is refused: its {packed:,} bytes unpack to {total:,} or more, as those of an archive "
                "made to fill a disk do. If you trust it, unpack it and give the folder"
            )

    def _check_member(self, name: str, is_ordinary: bool, seen: Collection[str]) -> str:
        """The name as all systems would write it: a/b for ./a//b and a\\b."""
        path = PurePosixPath(name.replace("\\", "/"))
        if not is_ordinary:
            raise self._refusal(name, "is neither a file nor a folder")
        if path.is_absolute() or ".." in path.parts or name[1:2] == ":":
            raise self._refusal(name, "points out of the archive")
        if str(path) in seen:
            raise self._refusal(name, "occurs twice")
        return str(path)

    def _refusal(self, name: str, reason: str) -> DataError:
        return DataError(f"{self.path} is refused: its member {name!r} {reason}. Make the archive again")


class ZipTree(ArchiveTree):
    """Files inside of a zip archive."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """See FileTree."""
        with self._reading(), zipfile.ZipFile(self.path) as archive:
            return _ordered(self._files(archive))

    def _files(self, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
        files: dict[str, zipfile.ZipInfo] = {}
        members = archive.infolist()
        self._check_total(sum(info.file_size for info in members), len(members))
        for info in members:
            kind = stat.S_IFMT(info.external_attr >> 16)
            name = self._check_member(info.filename, kind in (0, stat.S_IFREG, stat.S_IFDIR), files)
            if not info.is_dir():
                files[name] = info
        return files

    def read(self, names: Collection[str], limit: int = IMAGE_LIMIT) -> Iterator[tuple[str, bytes]]:
        """See FileTree."""
        with self._reading(), zipfile.ZipFile(self.path) as archive:
            files = self._files(archive)
            for name in sorted(names, key=lambda name: files[name].header_offset):
                with self._reading(name), self._open(archive, files[name]) as file:
                    content = _limited(file, files[name].file_size, limit)
                yield name, content

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """See FileTree."""
        with self._reading(name), zipfile.ZipFile(self.path) as zip_, self._open(zip_, self._files(zip_)[name]) as file:
            yield file

    def _open(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
        if info.flag_bits & 1:
            raise self._refusal(info.filename, "is encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise self._refusal(info.filename, "is neither stored nor deflated")  # others are inflated without bound
        return archive.open(info)


class TarTree(ArchiveTree):
    """Files inside of a tar archive, compressed or not; a compressed one is unpacked from its start every time."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        """See FileTree."""
        names: set[str] = set()
        with self._reading(), self._open() as archive:
            members = 0
            for members, info in enumerate(_members(archive), start=1):
                self._check_total(archive.offset, members)
                name = self._check_member(info.name, (info.isreg() or info.isdir()) and info.size >= 0, names)
                if info.isreg():
                    names.add(name)
            self._check_end(archive, members)
        return _ordered(names)

    def _open(self) -> tarfile.TarFile:
        return tarfile.open(self.path, tarinfo=_CarefulTarInfo, encoding="utf-8")  # the default is the system's

    def _check_end(self, archive: tarfile.TarFile, members: int) -> None:
        """tarfile takes any block that is no header for the end: without one of zeros there, something is missing."""
        file = archive.fileobj
        assert file is not None
        file.seek(archive.offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise ValueError("its end is missing")
        while file.read(1 << 20):  # to the end: only there are the compressed formats' checksums compared
            self._check_total(file.tell(), members)

    def read(self, names: Collection[str], limit: int = IMAGE_LIMIT) -> Iterator[tuple[str, bytes]]:
        """See FileTree."""
        wanted = set(names)
        with self._reading(), self._open() as archive:
            for info in _members(archive):
                name = self._check_member(info.name, True, ())
                if name not in wanted:
                    continue
                with self._reading(name):
                    file = archive.extractfile(info)
                    assert file is not None  # names holds ordinary files only
                    content = _limited(file, info.size, limit)
                yield name, content
                wanted.remove(name)
                if not wanted:
                    return
            raise ValueError(f"'{min(wanted)}' is no longer in it")

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """See FileTree."""
        with self._reading(name), self._open() as archive:
            for info in _members(archive):
                if self._check_member(info.name, True, ()) == name:
                    file = archive.extractfile(info)
                    assert file is not None  # names holds ordinary files only
                    yield file
                    return
            raise ValueError("it is no longer in it")


class _CarefulTarInfo(tarfile.TarInfo):
    """Refuses what tarfile would read into memory whatever its size: headers, and the maps of sparse files."""

    def _proc_member(self, archive: Any) -> Any:
        if self.type == tarfile.XGLTYPE:
            archive.pax_headers.clear()  # they would add up
        if self.size < 0 or (self.size > HEADER_LIMIT and not (self.isreg() or self.isdir())):
            raise ValueError(f"a header of {self.size:,} bytes")
        return super()._proc_member(archive)  # type: ignore[misc]  # what fromtarfile calls; typeshed leaves it out

    def _refuse_sparse(self, *_: object) -> Any:
        raise ValueError("it holds a sparse file, whose map may have any length: make it again without --sparse")

    _proc_sparse = _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _refuse_sparse


def _members(archive: Any) -> Iterator[tarfile.TarInfo]:
    for info in archive:
        archive.members.clear()  # a thousand bytes each, and nobody asks for them again
        yield info


def open_tree(path: Path, skip: Callable[[str], bool] = lambda _: False) -> FileTree:
    """The files of a folder or archive; raises DataError where `path` is neither."""
    if path.is_dir():
        return FolderTree(path, skip)
    if path.is_file() and is_archive(path.name):
        return ZipTree(path) if path.name.lower().endswith(ZIP_SUFFIXES) else TarTree(path)
    known = ", ".join((*ZIP_SUFFIXES, *TAR_SUFFIXES))
    raise DataError(f"{path} is " + (f"no folder and no archive ({known})" if path.exists() else "not there"))


def is_archive(name: str) -> bool:
    """Whether a file's name is that of an archive."""
    return name.lower().endswith((*ZIP_SUFFIXES, *TAR_SUFFIXES))


def sort_key(name: str) -> tuple[str, str]:
    """Orders names alike on all systems: by code points of the composed form, which not every file system keeps."""
    return unicodedata.normalize("NFC", name), name


def _ordered(names: Collection[str]) -> tuple[str, ...]:
    kept = [name for name in names if not any(part in _JUNK or part[:1] == "." for part in name.split("/"))]
    for name in kept:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataError(f"the file name {name!r} is not valid UTF-8: rename the file") from None
    return tuple(sorted(kept, key=sort_key))


def _walk(
    folder: Path | str, prefix: str, skip: Callable[[str], bool], above: tuple[tuple[int, int], ...]
) -> Iterator[tuple[str, os.stat_result]]:
    """Name and status of each file; follows links, but not round in circles: `above` are the folders gone through."""
    with os.scandir(folder) as entries:  # several times as fast as Path.rglob
        for entry in entries:
            if entry.name in _JUNK or entry.name[:1] == ".":
                continue
            name = prefix + os.fsencode(entry.name).decode("utf-8", "surrogateescape")  # whatever the locale says
            if entry.is_symlink() and not Path(entry.path).exists():
                yield name, entry.stat(follow_symlinks=False)  # leads nowhere: said when somebody wants to read it
            elif entry.is_dir():
                here = _identity(entry.path)
                if here not in above and not skip(name):
                    yield from _walk(entry.path, f"{name}/", skip, (*above, here))
            elif entry.is_file():
                yield name, entry.stat()


def _identity(folder: Path | str) -> tuple[int, int]:
    status = os.stat(folder)  # noqa: PTH116 - Path is slow; and a DirEntry's own status lacks this on Windows
    return status.st_dev, status.st_ino


def _limited(file: IO[bytes], size: int, limit: int) -> bytes:
    """All bytes of a file that says it has `size`; raises ValueError beyond the limit, or where it has fewer."""
    if size > limit:
        raise ValueError(f"{size:,} bytes are more than the {limit:,} that such a file may have")
    content = file.read(size + 1)  # a bare read() would trust the file to be as small as it says
    if len(content) != size:
        raise ValueError(f"it should have {size:,} bytes and has {'more' if len(content) > size else len(content)}")
    return content


def _words(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
