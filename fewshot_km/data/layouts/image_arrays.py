"""Images in a numpy archive (.npz), read one at a time: the largest published one has ten gigabytes."""

import zipfile
from collections.abc import Iterator
from typing import IO

import numpy as np
import numpy.typing as npt

from fewshot_km.data.files.trees import FileTree
from fewshot_km.errors import DataError, describe_error

_READERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npz(tree: FileTree, name: str, key: str, count: int, size: int) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield the `count` images, uint8 [size, size, 3], of the array `key` [count, size, size, 3].

    Nothing is unpickled: only the array's own bytes are read, and only as many as `count` images have. Raises DataError
    where the archive is damaged or holds anything else.
    """
    what = f"{tree}: '{name}'"
    with tree.open_data(name) as file:
        try:
            with zipfile.ZipFile(file) as archive, _open(archive, f"{key}.npy") as member:
                _check_header(member, what, count, size)
                for _ in range(count):
                    data = member.read(size * size * 3)
                    yield np.frombuffer(data, np.uint8).reshape(size, size, 3)
                if member.read(1):
                    raise ValueError("more bytes follow the last image")  # and the checksum is compared at the end
        except DataError:
            raise
        except KeyError as error:
            raise DataError(f"{what} should hold an array called {key}; it has none: fetch it again") from error
        except Exception as error:  # zipfile and zlib answer damaged bytes with a dozen unrelated types
            raise DataError(
                f"{what} is damaged or cut short: {describe_error(error)}; fetch or copy it again"
            ) from error


def _open(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    info = archive.getinfo(name)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("it is neither stored nor deflated")  # others are inflated without bound
    return archive.open(info)


def _check_header(member: IO[bytes], what: str, count: int, size: int) -> None:
    version = np.lib.format.read_magic(member)
    if version not in _READERS:
        raise ValueError(f"version {version} of numpy's format is not known")
    shape, by_columns, dtype = _READERS[version](member)
    if dtype != np.uint8 or shape[1:] != (size, size, 3) or by_columns:
        raise DataError(f"{what} should hold uint8 images [N, {size}, {size}, 3], not {dtype} {list(shape)}")
    if shape[0] != count:
        raise DataError(f"{what} has {shape[0]:,} images and its labels are {count:,}; fetch both again")
