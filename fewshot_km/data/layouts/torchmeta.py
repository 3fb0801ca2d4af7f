"""The HDF5 files that torchmeta makes of published data sets.

Its sources (torchmeta/datasets/) write, below a group "datasets", or in the file itself for CIFAR-100 and Omniglot:

miniimagenet.py            {train,val,test}_data.hdf5: a class's array uint8 [600, 84, 84, 3] under its name
tieredimagenet.py, cub.py  the same files: a class's image files, each a row of bytes, under its description or name
cifar100/base.py           data.hdf5: uint8 [600, 32, 32, 3] under superclass/class
omniglot.py                data.hdf5: uint8 [20, 105, 105], ink 255, under images_background/alphabet/character or
                           images_evaluation/..., the drawings in the order in which a folder was listed

{train,val,test}_labels.json lists the names beside the first three. torchmeta deletes some of the original files.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from fewshot_km.data.bank import ImageBank
from fewshot_km.data.files.archives import RATIO_LIMIT
from fewshot_km.data.files.names import by_original_name, find_together
from fewshot_km.data.files.trees import FileTree
from fewshot_km.data.images import ImageForm, bank_from_images
from fewshot_km.data.layouts.published import Layout, all_classes, bank_from_pixels, first_places
from fewshot_km.data.splits import SPLIT_NAMES
from fewshot_km.errors import DataError, describe_error
from fewshot_km.text import parse_json

FILES = {split: (f"{split}_data.hdf5", f"{split}_labels.json") for split in SPLIT_NAMES}
ONE_FILE = "data.hdf5"
LABELS_LIMIT = 1 << 20  # bytes; 351 descriptions take 12,000
DEEPEST = 3  # groups, one in another, as in Omniglot's; a group may also be linked into itself

Shape = tuple[int, ...] | None
"""The shape of uint8 images; None for image files, as bytes."""


def find_torchmeta(names: Sequence[str]) -> dict[str, tuple[str, str]] | None:
    """Find the six files: split -> paths of its HDF5 and its JSON file; None where they are not all in one folder."""
    found = find_together(names, [file for pair in FILES.values() for file in pair])
    return {split: (found[data], found[labels]) for split, (data, labels) in FILES.items()} if found else None


def find_one_file(names: Sequence[str]) -> str | None:
    """Find the one HDF5 file that holds all of CIFAR-100 or Omniglot; None without it."""
    there = by_original_name(names)
    return next((name for original, name in there.items() if original.rpartition("/")[2] == ONE_FILE), None)


def count_labelled(tree: FileTree, data: str, labels: str, shape: Shape) -> dict[str, int]:
    """Count the images of each class of a split; raises DataError where the two files disagree or are damaged."""
    names = _read_labels(tree, labels)
    counts = count_arrays(tree, data, shape)
    if sorted(counts) != sorted(names):
        raise DataError(f"{tree}: '{data}' has other classes than '{labels}'; have torchmeta make both again")
    return counts


def count_arrays(tree: FileTree, data: str, shape: Shape, top: str = "datasets") -> dict[str, int]:
    """Count the images of each array, by its path below the group `top`, "" for the file itself; raises DataError."""
    with _open(tree, data, top) as group:
        return {path: len(array) for path, array in _arrays(group, shape, f"{tree}: '{data}'")}


def read_arrays(
    tree: FileTree, data: str, shape: Shape, top: str = "datasets"
) -> Iterator[tuple[str, int, npt.NDArray[np.uint8]]]:
    """Yield path, position within its array, and image; no two in memory at once."""
    with _open(tree, data, top) as group:
        for path, array in _arrays(group, shape, f"{tree}: '{data}'"):
            for position in range(len(array)):
                yield path, position, array[position]


def find_hdf5_layout(
    tree: FileTree, label: str, form: ImageForm, *, files: bool = True, named: bool = True, note: str = ""
) -> Layout | None:
    """Find the six files, which hold image `files` or else pixels of the form's size; None without them."""
    found = find_torchmeta(tree.names)
    if not found:
        return None
    shape = None if files else (form.size, form.size, form.channels)
    counts = {split: count_labelled(tree, data, labels, shape) for split, (data, labels) in found.items()}

    def build() -> tuple[ImageBank, str]:
        read = ((data, array) for data, _ in found.values() for array in read_arrays(tree, data, shape))
        if not files:
            return bank_from_pixels(label, counts, (array for _, array in read), form.size)
        sizes = all_classes(counts)
        first = first_places(sizes)
        images = (
            ((first[name] + position, f"{data}, {name}, image {position}"), image.tobytes())
            for data, (name, position, image) in read
        )
        return bank_from_images(label, str(tree), sizes, images, form)

    return Layout("torchmeta's HDF5 files", counts, build, named, note)


def _read_labels(tree: FileTree, name: str) -> list[str]:
    try:
        labels = parse_json(tree.read_one(name, LABELS_LIMIT))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{tree}: '{name}' is no JSON file: {describe_error(error)}") from error
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise DataError(f"{tree}: '{name}' should hold a list of class names; have torchmeta make it again")
    return labels


@contextmanager
def _open(tree: FileTree, name: str, top: str) -> Iterator[Any]:
    """Open the group `top` of a file, or the file itself; raises DataError where it is damaged or h5py missing."""
    what = f"{tree}: '{name}'"
    try:
        import h5py
    except ImportError as error:
        raise DataError(
            f"{what} is an HDF5 file, and h5py, which reads these, is not installed: pip install 'fewshot_km[hdf5]'"
        ) from error
    with tree.open_data(name) as stream:
        try:
            with h5py.File(stream, "r") as file:
                if top and not (_is_own(file, top) and isinstance(file[top], h5py.Group)):
                    raise DataError(f"{what} should hold a group called {top}, with an array for each class")
                yield file[top] if top else file
        except DataError:
            raise
        except Exception as error:  # HDF5 answers damaged bytes with half a dozen types
            raise DataError(
                f"{what} is damaged, or not as torchmeta makes it: {describe_error(error)}; fetch or make it again"
            ) from error


def _is_own(group: Any, name: str) -> bool:
    """Tell whether something lies in the file itself: other links of HDF5 may lead to any file of the machine."""
    import h5py

    return isinstance(group.get(name, getlink=True), h5py.HardLink)


def _arrays(group: Any, shape: Shape, what: str, above: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Yield path and array of each class, in the order of paths; raises DataError for links to elsewhere."""
    import h5py

    for name in sorted(group):
        path = "/".join((*above, name))
        if not _is_own(group, name):
            raise DataError(f"{what}: '{path}' is a link to elsewhere, which is not followed; make the file again")
        if isinstance(group[name], h5py.Group) and len(above) + 1 < DEEPEST:
            yield from _arrays(group[name], shape, what, (*above, name))
        else:
            yield path, _checked(group[name], shape, f"{what}: '{path}'")


def _checked(array: Any, shape: Shape, what: str) -> Any:
    """Check the array of a class; raises DataError where it lies in another file or unpacks without bound."""
    import h5py

    is_array = isinstance(array, h5py.Dataset)
    if shape is None:
        if not is_array or h5py.check_vlen_dtype(array.dtype) != np.uint8 or array.ndim != 1:
            raise DataError(f"{what} should be a list of image files, each a row of uint8")
    elif not is_array or array.dtype != np.uint8 or array.ndim != len(shape) + 1 or array.shape[1:] != shape:
        raise DataError(f"{what} should be an array of uint8 images [{', '.join(map(str, ('N', *shape)))}]")
    if array.external is not None or array.is_virtual:
        raise DataError(f"{what} has its pixels in another file, which is not read; make the file again")
    if array.nbytes > RATIO_LIMIT * max(array.id.get_storage_size(), 1):
        raise DataError(f"{what} unpacks to {array.nbytes:,} bytes, more than {RATIO_LIMIT} times its own")
    return array
