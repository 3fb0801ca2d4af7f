"""CIFAR-FS and FC100 as MetaOptNet (Lee et al. 2019) gave them out: CIFAR_FS_train.pickle and so on, one split each.

A file holds `data`, uint8 [N, 32, 32, 3], and `labels`, [N], for each image the number of its class in CIFAR-100's own
alphabetical list (PaddleFSL's documentation of FC100 shows a 70, rose, among the 60 classes of training); some copies
name the classes too, as `catname2label`.
"""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from fewshot_km.data.files.file_names import by_original_name, original_name
from fewshot_km.data.files.trees import FileTree
from fewshot_km.data.layouts.published import Published
from fewshot_km.data.pickles import load_pickle
from fewshot_km.errors import DataError, describe_error

PICKLES = {"cifar-fs": "CIFAR_FS", "fc100": "FC100"}
"""Data set -> what the names of its files begin with."""

SIZE = 32


def is_split_pickle(published: Published, name: str) -> bool:
    """Whether a file is named as one of the three."""
    return _split_of(published, original_name(name)) is not None


def find_split_pickles(published: Published, names: Sequence[str]) -> dict[str, str]:
    """Split -> path of its file, of those that are there."""
    found: dict[str, str] = {}
    for original, name in by_original_name(names).items():
        split = _split_of(published, original.rpartition("/")[2])
        if split:
            found.setdefault(split, name)
    return found


def _split_of(published: Published, file: str) -> str | None:
    words = re.fullmatch(r"(.*)[_-](train|val|test)\.(?:pickle|pkl)", file.lower())
    prefix = PICKLES[published.name].lower()
    return words[2] if words and words[1].replace("-", "_") == prefix else None


def read_split_pickle(
    published: Published, tree: FileTree, name: str
) -> tuple[npt.NDArray[np.uint8], dict[str, npt.NDArray[np.int64]]]:
    """Images uint8 [N, 32, 32, 3] and, per class, the rows that hold it, rising; raises DataError."""
    what = f"{tree}: '{name}'"
    with tree.open(name) as file:
        content = load_pickle(file, what)
    try:
        assert isinstance(content, dict)
        pixels, labels = np.asarray(content["data"]), np.asarray(content["labels"])
        assert pixels.dtype == np.uint8
        assert pixels.shape == (len(labels), SIZE, SIZE, 3)
        assert labels.dtype.kind in "iu"
        names = _names(published, content.get("catname2label"))
        return pixels, {names[int(label)]: np.flatnonzero(labels == label) for label in np.unique(labels)}
    except (AssertionError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{what} should hold uint8 images [N, {SIZE}, {SIZE}, 3] as data and the numbers of their classes [N], "
            f"0 to 99, as labels ({describe_error(error)}); fetch it again"
        ) from error


def _names(published: Published, numbers: Mapping[str, int] | None) -> dict[int, str]:
    """Number -> class: as the file says, else as CIFAR-100 counts its classes.

    check_complete proves the latter: the numbers of a file must be those of its split's classes in the frozen lists.
    """
    if numbers:
        return {int(number): name.replace(" ", "_") for name, number in numbers.items()}
    return dict(enumerate(sorted(published.owner)))
