"""CIFAR-100, 32x32, split as CIFAR-FS and as FC100: from its authors' files, pickles of one split each, or HDF5."""

import hashlib
import re
from collections.abc import Mapping
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fewshot_km.data.dataset import DATASETS, Dataset
from fewshot_km.data.files.locating import find_trees
from fewshot_km.data.files.names import by_original_name, find_together, original_name
from fewshot_km.data.files.trees import FileTree
from fewshot_km.data.layouts.published import Layout, Pixels, Published, bank_from_pixels, load_published
from fewshot_km.data.layouts.torchmeta import ONE_FILE, count_arrays, find_one_file, read_arrays
from fewshot_km.data.pickles import load_pickle
from fewshot_km.errors import DataError, describe_error

CIFAR_FS, FC100 = (
    Published(name, "CIFAR-100", "cifar100 1", 60_000, 600, label="cifar100") for name in ("cifar-fs", "fc100")
)
SIZE = 32
ARRAY = (SIZE, SIZE, 3)
SPELLINGS = ("cifar-100", "cifar-100-python", "cifar-fs", "fc100")

MEMBERS = {  # name -> MD5 as torchvision lists it; within a class the images of train come before those of test
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
}
MEMBER_LIMIT = 1 << 28  # bytes; train has 155 million
PICKLES = {"cifar-fs": "CIFAR_FS", "fc100": "FC100"}  # what the names of MetaOptNet's pickles begin with


@DATASETS.register("cifar-fs")
def cifar_fs(data_root: Path, *, allow_partial: bool = False) -> Dataset:
    """CIFAR-FS: CIFAR-100 in 64/16/20 classes of Bertinetto et al., 32x32; from cifar-100-python or CIFAR_FS_*.pickle.

    `allow_partial`: whether classes or images may be missing, or the files be others than the published ones; off
    because accuracies are then comparable to nothing. Raises DataError where CIFAR-100 is not found, damaged,
    incomplete, or complete and yet not what was published: its pixels have no checksum but that of their file.
    """
    return _load(CIFAR_FS, data_root, allow_partial)


@DATASETS.register("fc100")
def fc100(data_root: Path, *, allow_partial: bool = False) -> Dataset:
    """FC100: CIFAR-100 in 60/20/20 classes of TADAM, superclasses kept whole, 32x32; from the same files as cifar-fs.

    Option and errors are those of cifar-fs.
    """
    return _load(FC100, data_root, allow_partial)


def _load(published: Published, data_root: Path, allow_partial: bool) -> Dataset:
    prefix = PICKLES[published.name]
    trees = find_trees(
        data_root, "cifar100", lambda name: _split_of(prefix, original_name(name)) is not None, aliases=SPELLINGS
    )
    layouts = [partial(find, published) for find in (find_members, find_split_pickles, find_hdf5)]
    advice = (
        f"Run `fewshot-km data fetch {published.name}`, or put cifar-100-python.tar.gz, or the folder cifar-100-python "
        f"with the files train, test and meta, or {prefix}_{{train,val,test}}.pickle, or torchmeta's {ONE_FILE}, into "
        f"{data_root / 'cifar-100'}"
    )
    return load_published(published, data_root, trees, layouts, allow_partial, advice)


def find_members(published: Published, tree: FileTree) -> Layout | None:
    """The three files of cifar-100-python; None without them. Raises DataError where they are damaged."""
    members = find_together(tree.names, list(MEMBERS))
    if not members:
        return None
    member_of = {name: member for member, name in members.items()}
    contents, altered = {}, []
    for name, data in tree.read(list(member_of), MEMBER_LIMIT):
        member = member_of[name]
        contents[member] = load_pickle(data, f"{tree}: '{name}'")
        if hashlib.md5(data, usedforsecurity=False).hexdigest() != MEMBERS[member]:
            altered.append(member)
    names = read_names(contents["meta"], f"{tree}: '{members['meta']}'")
    halves = [read_half(contents[half], len(names), f"{tree}: '{members[half]}'") for half in ("train", "test")]
    images, labels = (np.concatenate(parts) for parts in zip(*halves, strict=True))
    rows = {names[label]: np.flatnonzero(labels == label) for label in np.unique(labels).tolist()}
    counts, pixels = published.in_splits({name: len(own) for name, own in rows.items()}), _pixels_of(images, rows)
    return Layout("pickles", counts, lambda: bank_from_pixels("cifar100", counts, pixels, SIZE), altered=altered)


def _pixels_of(images: npt.NDArray[np.uint8], rows: Mapping[str, npt.NDArray[np.int64]]) -> Pixels:
    return ((name, position, images[row]) for name, own in rows.items() for position, row in enumerate(own))


def read_names(meta: object, what: str) -> list[str]:
    """The classes that the labels count, from the content of the file meta; raises DataError."""
    names = meta.get("fine_label_names") if isinstance(meta, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or not names:
        raise DataError(f"{what} should hold the names of the classes as fine_label_names; fetch it again")
    if len(set(names)) < len(names):
        raise DataError(f"{what} names a class twice; fetch it again")
    return names


def read_half(content: object, classes: int, what: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Images uint8 [N, 32, 32, 3] and labels int64 [N] of the content of train or test; raises DataError."""
    try:
        assert isinstance(content, dict)
        pixels, labels = np.asarray(content["data"]), np.asarray(content["fine_labels"])
        assert pixels.dtype == np.uint8
        assert pixels.shape == (len(labels), 3 * SIZE * SIZE)  # red, green and blue one after another
        assert labels.shape == (len(pixels),)
        assert labels.dtype.kind in "iu"
        assert labels.min() >= 0
        assert labels.max() < classes
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{what} should hold uint8 images [N, 3072] as data and {classes} classes' numbers [N] as fine_labels "
            f"({describe_error(error)}); fetch it again"
        ) from error
    return pixels.reshape(-1, 3, SIZE, SIZE).transpose(0, 2, 3, 1), labels.astype(np.int64)


def find_split_pickles(published: Published, tree: FileTree) -> Layout | None:
    """CIFAR_FS_train.pickle and so on, as MetaOptNet (Lee et al. 2019) gave them out; None where there are none.

    No checksum of these is published: that they have every class and image must do, as for mini-ImageNet's.
    """
    pickles: dict[str, str] = {}
    for original, name in by_original_name(tree.names).items():
        if split := _split_of(PICKLES[published.name], original.rpartition("/")[2]):
            pickles.setdefault(split, name)
    if not pickles:
        return None
    read = {split: read_split_pickle(published, tree, name) for split, name in pickles.items()}
    counts = {split: {name: len(rows) for name, rows in classes.items()} for split, (_, classes) in read.items()}
    pixels = chain.from_iterable(_pixels_of(images, rows) for images, rows in read.values())
    return Layout("pickles of one split each", counts, lambda: bank_from_pixels("cifar100", counts, pixels, SIZE))


def _split_of(prefix: str, file: str) -> str | None:
    words = re.fullmatch(r"(.*)[_-](train|val|test)\.(?:pickle|pkl)", file.lower())
    return words[2] if words and words[1].replace("-", "_") == prefix.lower() else None


def read_split_pickle(
    published: Published, tree: FileTree, name: str
) -> tuple[npt.NDArray[np.uint8], dict[str, npt.NDArray[np.int64]]]:
    """Images uint8 [N, 32, 32, 3] and, per class, the rows that hold it, rising; raises DataError.

    Labels are numbers of classes as `catname2label` names them, or else in CIFAR-100's own alphabetical list (by
    PaddleFSL's documentation of FC100, 70, rose, is among the 60 classes of training). That a split has the classes
    of the frozen lists, which is checked later, proves the latter.
    """
    what = f"{tree}: '{name}'"
    with tree.open(name) as file:
        content = load_pickle(file, what)
    try:
        assert isinstance(content, dict)
        pixels, labels = np.asarray(content["data"]), np.asarray(content["labels"])
        assert pixels.dtype == np.uint8
        assert pixels.shape == (len(labels), *ARRAY)
        assert labels.dtype.kind in "iu"
        numbers = content.get("catname2label")
        names = {int(number): label.replace(" ", "_") for label, number in numbers.items()} if numbers else None
        names = names or dict(enumerate(sorted(published.owner)))
        return pixels, {names[int(label)]: np.flatnonzero(labels == label) for label in np.unique(labels)}
    except (AssertionError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"{what} should hold uint8 images [N, {SIZE}, {SIZE}, 3] as data and the numbers of their classes [N], "
            f"0 to 99, as labels ({describe_error(error)}); fetch it again"
        ) from error


def find_hdf5(published: Published, tree: FileTree) -> Layout | None:
    """torchmeta's HDF5 file; None without it. The frozen class lists tell the splits: its own are not needed."""
    name = find_one_file(tree.names)
    if name is None:
        return None
    counts: dict[str, int] = {}
    for path, count in count_arrays(tree, name, ARRAY, top="").items():
        label = path.rpartition("/")[2]
        if label in counts:
            raise DataError(f"{tree}: '{name}' has class '{label}' in two superclasses; have torchmeta make it again")
        counts[label] = count
    pixels: Pixels = ((path.rpartition("/")[2], i, image) for path, i, image in read_arrays(tree, name, ARRAY, top=""))
    splits = published.in_splits(counts)
    return Layout("torchmeta's HDF5 file", splits, lambda: bank_from_pixels("cifar100", splits, pixels, SIZE))
