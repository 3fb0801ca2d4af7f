"""Zip and tar archives as file trees; and open_tree, which opens a folder or an archive."""

import stat
import tarfile
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, Any

from fewshot_km.data.files.impostors import HEAD, describe_impostor
from fewshot_km.data.files.names import original_name
from fewshot_km.data.files.trees import IMAGE_LIMIT, FileTree, FolderTree, limited, ordered, words
from fewshot_km.errors import DataError

ZIP_SUFFIXES = (".zip",)
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

MEMBERS_LIMIT = 2_000_000  # ImageNet's training images are 1.3 million
TOTAL_LIMIT = 1 << 40  # bytes unpacked; ImageNet is an eighth of that
RATIO_LIMIT = 200  # unpacked over packed: pictures are compressed already, empty ones excepted
RATIO_FLOOR = 1 << 30  # bytes unpacked below which the ratio does not matter


class ArchiveTree(FileTree):
    """Files inside an archive. Hostile archives are refused: see the limits above and `_check_member`."""

    def fingerprint(self) -> list[object]:
        status = self.path.stat()
        return [str(self.path.resolve()), status.st_size, status.st_mtime_ns]

    @contextmanager
    def _reading(self, name: str | None = None) -> Iterator[None]:
        try:
            yield
        except DataError:
            raise
        except Exception as error:  # zipfile, tarfile and zlib answer damaged bytes with a dozen unrelated types
            if impostor := self._describe_impostor():
                raise DataError(f"{self.path} {impostor}") from error
            where = f"'{name}' in it" if name else "the archive"
            raise DataError(
                f"{self.path} is damaged or cut short: {where}: {words(error)}. Fetch or copy it again"
            ) from error

    def _describe_impostor(self) -> str | None:
        try:
            with self.path.open("rb") as file:
                return describe_impostor(file.read(HEAD))
        except OSError:
            return None

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
        """Bring a name to the form a/b, from ./a//b and a\\b; raises DataError where the member is refused."""
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
    """Files inside a zip archive."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        with self._reading(), zipfile.ZipFile(self.path) as archive:
            return ordered(self.path, self._files(archive))

    def _files(self, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
        files: dict[str, zipfile.ZipInfo] = {}
        members = archive.infolist()
        self._check_total(sum(info.file_size for info in members), len(members))
        for info in members:
            is_known = stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG, stat.S_IFDIR)
            name = self._check_member(info.filename, is_known and not (info.is_dir() and info.file_size), files)
            if not info.is_dir():
                files[name] = info
        return files

    def read(self, names: Collection[str], limit: int = IMAGE_LIMIT) -> Iterator[tuple[str, bytes]]:
        with self._reading(), zipfile.ZipFile(self.path) as archive:
            files = self._files(archive)
            for name in sorted(names, key=lambda name: files[name].header_offset):
                with self._reading(name), self._open(archive, files[name]) as file:
                    content = limited(file, files[name].file_size, limit)
                yield name, content

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        with self._reading(name), zipfile.ZipFile(self.path) as zip_, self._open(zip_, self._files(zip_)[name]) as file:
            yield file

    def _open(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> IO[bytes]:
        if info.flag_bits & 1:
            raise self._refusal(info.filename, "is encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise self._refusal(info.filename, "is neither stored nor deflated")  # others are inflated without bound
        return archive.open(info)


class TarTree(ArchiveTree):
    """Files inside a tar archive, compressed or not; a compressed one is unpacked from its start at each reading."""

    @cached_property
    def names(self) -> tuple[str, ...]:
        names: set[str] = set()
        with self._reading(), self._open() as archive:
            members = 0
            for members, info in enumerate(_members(archive), start=1):
                self._check_total(archive.offset, members)
                name = self._check_member(info.name, (info.isreg() or info.isdir()) and info.size >= 0, names)
                if info.isreg():
                    names.add(name)
            self._check_end(archive, members)
        return ordered(self.path, names)

    def _open(self) -> tarfile.TarFile:
        return tarfile.open(self.path, encoding="utf-8")  # the default is the system's

    def _check_end(self, archive: tarfile.TarFile, members: int) -> None:
        """Raise ValueError unless zeros follow the members: tarfile takes any block that is no header for the end."""
        file = archive.fileobj
        assert file is not None
        file.seek(archive.offset)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise ValueError("its end is missing")
        while file.read(1 << 20):  # up to its end, where the checksums of compressed formats are compared
            self._check_total(file.tell(), members)

    def read(self, names: Collection[str], limit: int = IMAGE_LIMIT) -> Iterator[tuple[str, bytes]]:
        for name, file, size in self._files_of(names):
            with self._reading(name):
                content = limited(file, size, limit)
            yield name, content

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        for _, file, _ in self._files_of([name]):
            with self._reading(name):
                yield file

    def _files_of(self, names: Collection[str]) -> Iterator[tuple[str, IO[bytes], int]]:
        """Yield name, open file and size of the named members, in the order of the archive."""
        wanted = set(names)
        with self._reading(), self._open() as archive:
            for info in _members(archive):
                name = self._check_member(info.name, True, ())
                if name in wanted:
                    file = archive.extractfile(info)
                    assert file is not None  # names holds ordinary files only
                    yield name, file, info.size
                    wanted.remove(name)
                if not wanted:
                    return
            raise ValueError(f"'{min(wanted)}' is no longer in it")


def _members(archive: Any) -> Iterator[tarfile.TarInfo]:
    for info in archive:
        archive.members.clear()  # a thousand bytes each, and nobody asks for them again
        yield info


def open_tree(path: Path, skip: Callable[[str], bool] = lambda _: False) -> FileTree:
    """Open a folder or archive as a tree of files; raises DataError where `path` is neither."""
    if path.is_dir():
        return FolderTree(path, skip)
    if path.is_file() and is_archive(path.name):
        return ZipTree(path) if original_name(path.name).lower().endswith(ZIP_SUFFIXES) else TarTree(path)
    known = ", ".join((*ZIP_SUFFIXES, *TAR_SUFFIXES))
    raise DataError(f"{path} is " + (f"no folder and no archive ({known})" if path.exists() else "not there"))


def is_archive(name: str) -> bool:
    """Whether a file's name is that of an archive."""
    return original_name(name).lower().endswith((*ZIP_SUFFIXES, *TAR_SUFFIXES))
