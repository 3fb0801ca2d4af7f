"""CIFAR-100 from its authors' files or from pickles of one split each, 32x32, split as CIFAR-FS and as FC100."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fewshot_km.data.bank import ImageBank
from fewshot_km.data.cache import Prepared, announce, prepare, write_bank
from fewshot_km.data.dataset import DATASETS, Dataset
from fewshot_km.data.files.file_names import find_together
from fewshot_km.data.files.locating import find_trees, place_name
from fewshot_km.data.files.tree_contents import describe_places
from fewshot_km.data.files.trees import FileTree
from fewshot_km.data.layouts.cifar_pickles import PICKLES, find_split_pickles, is_split_pickle, read_split_pickle
from fewshot_km.data.layouts.published import Published, check_complete, how_to_allow, in_splits
from fewshot_km.data.layouts.published_pixels import prepare_pixels
from fewshot_km.data.layouts.torchmeta_files import ONE_FILE, count_arrays, find_one_file, read_arrays
from fewshot_km.data.pickles import load_pickle
from fewshot_km.data.splits import SPLIT_NAMES
from fewshot_km.errors import DataError, describe_error

CIFAR_FS = Published("cifar-fs", 600, 60_000)
FC100 = Published("fc100", 600, 60_000)
SHAPE = (3, 32, 32)
RECIPE = "cifar100 1"  # change it with the reading: older caches are then left alone
SPELLINGS = ("cifar-100", "cifar-100-python", "cifar-fs", "fc100")

MEMBERS = {  # name -> MD5 as torchvision lists it; within a class the images of train come before those of test
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
}
MEMBER_LIMIT = 1 << 28  # bytes; train has 155 million


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
    trees = find_trees(data_root, "cifar100", lambda name: is_split_pickle(published, name), aliases=SPELLINGS)
    recipe = f"{RECIPE}, {published.name}, partial {allow_partial}"
    prepared = prepare("cifar100", recipe, trees, lambda: _read(published, data_root, trees, allow_partial))
    return announce(published.name, prepared)


def _read(published: Published, data_root: Path, trees: Sequence[FileTree], allow_partial: bool) -> Prepared:
    for tree in trees:
        members = find_together(tree.names, list(MEMBERS))
        if members:
            return _from_members(published, tree, members, place_name(tree, data_root), allow_partial)
        pickles = find_split_pickles(published, tree.names)
        if pickles:
            return _from_split_pickles(published, tree, pickles, place_name(tree, data_root), allow_partial)
        arrays = find_one_file(tree.names)
        if arrays:
            return _from_torchmeta(published, tree, arrays, place_name(tree, data_root), allow_partial)
    raise DataError(
        f"CIFAR-100 not found: {describe_places(data_root, trees)}. Run `fewshot-km data fetch {published.name}`, or "
        f"put cifar-100-python.tar.gz, or the folder cifar-100-python with the files train, test and meta, or "
        f"{PICKLES[published.name]}_{{train,val,test}}.pickle, or torchmeta's {ONE_FILE}, into "
        f"{data_root / 'cifar-100'}; --data-root names another data root"
    )


def _from_split_pickles(
    published: Published, tree: FileTree, pickles: Mapping[str, str], where: str, allow_partial: bool
) -> Prepared:
    """No checksum of these is published: that they have every class and image must do, as for mini-ImageNet's."""
    read = {split: read_split_pickle(published, tree, name) for split, name in pickles.items()}
    counts = {split: {name: len(rows) for name, rows in classes.items()} for split, (_, classes) in read.items()}
    pixels = (
        (name, position, images[row])
        for images, classes in read.values()
        for name, rows in classes.items()
        for position, row in enumerate(rows)
    )
    found = f"pickles of one split each in {where}"
    return prepare_pixels(published, f"{tree} (pickles)", counts, pixels, SHAPE[1], found, allow_partial)


def _from_torchmeta(published: Published, tree: FileTree, name: str, where: str, allow_partial: bool) -> Prepared:
    """The frozen class lists tell the splits: those beside the file, for both data sets, are not needed.

    As for the pickles of one split, that every class and image is there must do.
    """
    size, shape = SHAPE[1], (*SHAPE[1:], SHAPE[0])
    counts: dict[str, int] = {}
    for path, count in count_arrays(tree, name, shape, top="").items():
        label = path.rpartition("/")[2]
        if label in counts:
            raise DataError(f"{tree}: '{name}' has class '{label}' in two superclasses; have torchmeta make it again")
        counts[label] = count
    pixels = ((path.rpartition("/")[2], i, image) for path, i, image in read_arrays(tree, name, shape, top=""))
    what, found = f"{tree} (torchmeta's HDF5 file)", f"torchmeta's HDF5 file in {where}"
    return prepare_pixels(published, what, in_splits(published, counts), pixels, size, found, allow_partial)


def _from_members(
    published: Published, tree: FileTree, members: Mapping[str, str], where: str, allow_partial: bool
) -> Prepared:
    contents: dict[str, object] = {}
    others = []
    member_of = {name: member for member, name in members.items()}
    for name, data in tree.read(list(member_of), MEMBER_LIMIT):
        member = member_of[name]
        contents[member] = load_pickle(data, f"{tree}: '{name}'")
        if hashlib.md5(data, usedforsecurity=False).hexdigest() != MEMBERS[member]:
            others.append(member)
    names = read_names(contents["meta"], f"{tree}: '{members['meta']}'")
    halves = [read_half(contents[half], len(names), f"{tree}: '{members[half]}'") for half in ("train", "test")]
    class_of = np.array(names)[np.concatenate([labels for _, labels in halves])]
    counts = {str(name): int(count) for name, count in zip(*np.unique(class_of, return_counts=True), strict=True)}
    partial = check_complete(published, in_splits(published, counts), str(tree), allow_partial)
    if others and partial is None:
        partial = "not the published files"
        if not allow_partial:
            raise DataError(
                f"{tree} has as many images as CIFAR-100, but these files are not the published ones (their MD5 "
                f"differs): {', '.join(sorted(others))}. Run `fewshot-km data fetch {published.name}`, "
                f"or {how_to_allow(published)}"
            )
    bank = _write(halves, class_of, counts)
    lists = {split: [name for name in published.lists[split] if name in counts] for split in SPLIT_NAMES}
    return Prepared(bank, lists, f"pickles in {where}, {len(class_of):,} images of 32x32", partial)


def _write(
    halves: Sequence[tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]],
    class_of: npt.NDArray[np.str_],
    counts: Mapping[str, int],
) -> ImageBank:
    pixels = np.concatenate([rows for rows, _ in halves])
    order = np.argsort(class_of, kind="stable")  # by class name, and as in the files within a class
    images = ((slot, pixels[row].reshape(SHAPE)) for slot, row in enumerate(order))
    names = sorted(counts)
    return write_bank("cifar100", names, [counts[name] for name in names], SHAPE, images)


def read_names(meta: object, what: str) -> list[str]:
    """The classes that the labels count, from the content of the file meta; raises DataError."""
    names = meta.get("fine_label_names") if isinstance(meta, dict) else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or not names:
        raise DataError(f"{what} should hold the names of the classes as fine_label_names; fetch it again")
    if len(set(names)) < len(names):
        raise DataError(f"{what} names a class twice; fetch it again")
    return names


def read_half(content: object, classes: int, what: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Pixels uint8 [N, 3072], red, green and blue one after another, and labels int64 [N]; raises DataError."""
    try:
        assert isinstance(content, dict)
        pixels, labels = np.asarray(content["data"]), np.asarray(content["fine_labels"])
        assert pixels.dtype == np.uint8
        assert pixels.shape == (len(labels), int(np.prod(SHAPE)))
        assert labels.shape == (len(pixels),)
        assert labels.dtype.kind in "iu"
        assert labels.min() >= 0
        assert labels.max() < classes
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{what} should hold uint8 images [N, 3072] as data and {classes} classes' numbers [N] as fine_labels "
            f"({describe_error(error)}); fetch it again"
        ) from error
    return pixels, labels.astype(np.int64)
