"""The HDF5 files that torchmeta makes of mini-ImageNet: {train,val,test}_data.hdf5 beside {train,val,test}_labels.json.

torchmeta/datasets/miniimagenet.py writes a group "datasets" with one array uint8 [600, 84, 84, 3] a class, under the
class's name, and the names as a JSON list; then it deletes the pickles that it made them of.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from fewshot_km.datasets.archives import RATIO_LIMIT
from fewshot_km.datasets.file_names import find_together
from fewshot_km.datasets.file_trees import FileTree
from fewshot_km.datasets.impostors import HEAD, describe_impostor
from fewshot_km.datasets.splits import SPLIT_NAMES
from fewshot_km.errors import DataError, describe_error
from fewshot_km.json_text import parse_json

FILES = {split: (f"{split}_data.hdf5", f"{split}_labels.json") for split in SPLIT_NAMES}
LABELS_LIMIT = 1 << 20  # bytes; 64 names take 800


def find_torchmeta(names: Sequence[str]) -> dict[str, tuple[str, str]] | None:
    """Split -> paths of its HDF5 and its JSON file; None where the six are not all in one folder."""
    found = find_together(names, [file for pair in FILES.values() for file in pair])
    return {split: (found[data], found[labels]) for split, (data, labels) in FILES.items()} if found else None


def count_images(tree: FileTree, data: str, labels: str, size: int) -> dict[str, int]:
    """Class -> images, of one split; raises DataError where the two files do not agree, or hold anything else."""
    names = _read_labels(tree, labels)
    with _open(tree, data) as group:
        if sorted(group) != sorted(names):
            raise DataError(f"{tree}: '{data}' has other classes than '{labels}'; have torchmeta make both again")
        return {name: len(_checked(group, name, size, f"{tree}: '{data}'")) for name in names}


def read_images(tree: FileTree, data: str, size: int) -> Iterator[tuple[str, int, npt.NDArray[np.uint8]]]:
    """Yield class, position within it, and image uint8 [size, size, 3]; no two in memory at once."""
    with _open(tree, data) as group:
        for name in sorted(group):
            array = _checked(group, name, size, f"{tree}: '{data}'")
            for position in range(len(array)):
                yield name, position, array[position]


def _read_labels(tree: FileTree, name: str) -> list[str]:
    try:
        labels = parse_json(tree.read_one(name, LABELS_LIMIT))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{tree}: '{name}' is no JSON file: {describe_error(error)}") from error
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise DataError(f"{tree}: '{name}' should hold a list of class names; have torchmeta make it again")
    return labels


@contextmanager
def _open(tree: FileTree, name: str) -> Iterator[Any]:
    """The group "datasets" of a file; raises DataError for what is damaged or h5py is missing for."""
    what = f"{tree}: '{name}'"
    try:
        import h5py
    except ImportError as error:
        raise DataError(
            f"{what} is an HDF5 file, and h5py, which reads these, is not installed: pip install 'fewshot_km[hdf5]'"
        ) from error
    with tree.open(name) as stream:
        impostor = describe_impostor(stream.read(HEAD))
        if impostor:
            raise DataError(f"{what} {impostor}")
        stream.seek(0)
        try:
            with h5py.File(stream, "r") as file:
                if not _is_own(file, "datasets") or not isinstance(file["datasets"], h5py.Group):
                    raise DataError(f"{what} should hold a group called datasets, with an array for each class")
                yield file["datasets"]
        except DataError:
            raise
        except Exception as error:  # HDF5 answers damaged bytes with half a dozen types
            raise DataError(
                f"{what} is damaged, or not as torchmeta makes it: {describe_error(error)}; fetch or make it again"
            ) from error


def _is_own(group: Any, name: str) -> bool:
    """Whether something lies in the file itself: HDF5's other links may lead to any file of the machine."""
    import h5py

    return isinstance(group.get(name, getlink=True), h5py.HardLink)


def _checked(group: Any, name: str, size: int, what: str) -> Any:
    """One class's array. Links to other files, arrays that lie in such, and what unpacks without bound are refused."""
    import h5py

    if not _is_own(group, name):
        raise DataError(f"{what}: '{name}' is a link to elsewhere, which is not followed; make the file again")
    array = group[name]
    if not isinstance(array, h5py.Dataset) or array.dtype != np.uint8 or array.shape[1:] != (size, size, 3):
        raise DataError(f"{what}: '{name}' should be an array of uint8 images [N, {size}, {size}, 3]")
    if array.external is not None or array.is_virtual:
        raise DataError(f"{what}: '{name}' has its pixels in another file, which is not read; make the file again")
    if array.nbytes > RATIO_LIMIT * max(array.id.get_storage_size(), 1):
        raise DataError(f"{what}: '{name}' unpacks to {array.nbytes:,} bytes, more than {RATIO_LIMIT} times its own")
    return array
