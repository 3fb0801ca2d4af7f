"""The data root, the cache, and files that are written whole or not at all."""

import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from platformdirs import user_cache_path

from fewshot_km.errors import DataError

DATA_ROOT_VARIABLE = "FEWSHOT_KM_DATA"
CACHE_ROOT_VARIABLE = "FEWSHOT_KM_CACHE"


def default_data_root() -> Path:
    """The folder of data sets, where fetching puts them too: $FEWSHOT_KM_DATA, else in the platform's cache."""
    named = os.environ.get(DATA_ROOT_VARIABLE)
    return Path(named).expanduser() if named else user_cache_path("fewshot_km") / "data"


def cache_root() -> Path:
    """The folder of decoded image banks: $FEWSHOT_KM_CACHE, else in the platform's cache.

    It is not in the data root, which may be read-only or shared between machines.
    """
    named = os.environ.get(CACHE_ROOT_VARIABLE)
    return Path(named).expanduser() if named else user_cache_path("fewshot_km") / "banks"


def describe_os_error(error: OSError, path: Path | None = None) -> str:
    """Name the file (`path`, else the one in the error) and what the system says of it, or what is in its way."""
    named = path or (Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else None)
    if named is not None and error.errno in (errno.ENOTDIR, errno.EEXIST):
        with suppress(OSError):
            for folder in (named, *named.parents):
                if folder.exists() and not folder.is_dir():
                    return f"{folder} is a file where a folder is needed"
    why = error.strerror or " ".join(str(error).split()) or type(error).__name__
    return why if named is None else f"{named}: {why}"


@contextmanager
def temporary_file(folder: Path, name: str) -> Iterator[Path]:
    """Yield the path of a new file in `folder`; the file is removed afterwards unless it was renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    handle, path = tempfile.mkstemp(prefix=f".{name}.", suffix=".part", dir=folder)
    os.close(handle)
    part = Path(path)
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def whole_file(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; its file is renamed to `path` only if the block succeeds.

    Two processes may do this at once: each writes its own temporary file, and the last to finish wins with a whole
    one. A `durable` file is on the disk before it is renamed, so that even a loss of power leaves no part of it.
    """
    with temporary_file(path.parent, path.name) as part:
        yield part
        if durable:
            with part.open("rb+") as file:
                os.fsync(file.fileno())
        part.chmod(0o644)  # temporary files are private; a cache may be shared between users
        part.replace(path)


def read_text_bounded(path: Path, most_bytes: int) -> str:
    """Read a UTF-8 text, with or without a byte-order mark; raises DataError as `read_bytes_bounded` does."""
    try:
        return read_bytes_bounded(path, most_bytes).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no text in UTF-8 (byte {error.start})") from None


def read_bytes_bounded(path: Path, most_bytes: int) -> bytes:
    """Read a file of at most `most_bytes`; raises DataError where it is missing, larger, or a pipe or device."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{path}: is no file, but a folder, a pipe or a device")
        if status.st_size > most_bytes:
            raise DataError(f"{path}: has {status.st_size:,} bytes, and no such file needs more than {most_bytes:,}")
        with path.open("rb") as file:
            return file.read(most_bytes)  # not more, though it may have grown meanwhile
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Write a file whole or not at all; raises OSError that names it. For `durable` see `whole_file`."""
    try:
        with whole_file(path, durable=durable) as part:
            part.write_bytes(content)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
