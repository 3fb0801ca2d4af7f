"""Where data lies on disk: the user's data root, our cache, and how files get there whole or not at all."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from platformdirs import user_cache_path

from fewshot_km.errors import DataError

DATA_ROOT_VARIABLE = "FEWSHOT_KM_DATA"
CACHE_ROOT_VARIABLE = "FEWSHOT_KM_CACHE"


def default_data_root() -> Path:
    """Where data sets are looked for and fetched to: $FEWSHOT_KM_DATA, else the platform's cache directory."""
    named = os.environ.get(DATA_ROOT_VARIABLE)
    return Path(named).expanduser() if named else user_cache_path("fewshot_km") / "data"


def cache_root() -> Path:
    """Where decoded image banks are kept: $FEWSHOT_KM_CACHE, else the platform's cache directory.

    Apart from the data root, which may be read-only or shared between machines.
    """
    named = os.environ.get(CACHE_ROOT_VARIABLE)
    return Path(named).expanduser() if named else user_cache_path("fewshot_km") / "banks"


def read_text_bounded(path: Path, most_bytes: int) -> str:
    """The text of an ordinary UTF-8 file of at most so many bytes; raises DataError for anything else, as a device."""
    try:
        if not path.is_file():
            what = "is no ordinary file" if path.exists() else "is not there"
            raise DataError(f"{path} {what}: name a file with text")
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise DataError(f"{path} has more than the {most_bytes:,} bytes that such a file may have: make it smaller")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start:,}): save it as UTF-8") from error


def describe_os_error(error: OSError, path: Path | None = None) -> str:
    """Which file (`path`, else the one that the error names) and what the system says of it, or what is in its way."""
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
    """Yield the path of a new file in `folder`, which is made; removed afterwards unless it was renamed."""
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
    """Yield a temporary path beside `path` that takes its name only if the block succeeds.

    Two processes may do this at once: each writes its own temporary file, and the last rename wins with a whole file.
    A `durable` one is on the disk before it takes its name, so that not even a loss of power leaves a part of it.
    """
    with temporary_file(path.parent, path.name) as part:
        yield part
        if durable:
            with part.open("rb+") as file:
                os.fsync(file.fileno())
        part.chmod(0o644)  # temporary files are private; a cache may be shared between users
        part.replace(path)


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
